"""Every setting of the hub. Read from the environment (prefix ``BOXHUB_``) in this file and nowhere else."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hub.tasks.settings import TaskSettings
from schemas.errors import InvalidInput
from schemas.ids import check_name
from schemas.subjects import DEFAULT_TENANT

DEFAULT_HOME: Final = Path("~/.local/state/boxhub")
DEFAULT_GATEWAY_PORT: Final = 8700
KIB: Final = 1024
MIB: Final = 1024 * KIB


class Limits(BaseModel):
    """Ceilings on what comes from outside; meeting one is a `PayloadTooLarge` or `InvalidInput`, never a cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = Field(default=8 * MIB, gt=0)  # one HTTP request
    blob_bytes: int = Field(default=1024 * MIB, gt=0)
    blob_chunk_bytes: int = Field(default=4 * MIB, gt=0)  # of one blob_put or blob_get
    blobs_per_query: int = Field(default=10_000, gt=0)
    uploads: int = Field(default=64, gt=0)  # blobs being received in chunks, per tenant
    value_bytes: int = Field(default=1 * MIB, gt=0)  # one key-value, as JSON
    key_length: int = Field(default=512, gt=0)
    metadata_bytes: int = Field(default=64 * KIB, gt=0)
    list_items: int = Field(default=10_000, gt=0)  # of one answer
    turns_per_append: int = Field(default=200, gt=0)
    turn_bytes: int = Field(default=1 * MIB, gt=0)
    branches_per_fork: int = Field(default=256, gt=0)
    files_per_fork: int = Field(default=2000, gt=0)
    file_bytes: int = Field(default=16 * MIB, gt=0)  # of one file given inline
    diff_text_bytes: int = Field(default=256 * KIB, gt=0)  # of one file; larger ones are listed without text
    definition_bytes: int = Field(default=1 * MIB, gt=0)
    changes_waiting: int = Field(default=1024, gt=0)  # per subscriber of a change feed


class HubSettings(BaseSettings):
    """One frozen object, made once by the process that starts a hub.

    ``store_url`` is ``sqlite:///absolute/path`` (default: a file in ``home``) or ``mongodb://…``. ``blobs_url`` is
    empty for ``blobs_dir``, a directory of this machine; ``jetstream:`` for the bus; else what fsspec knows, as
    ``s3://bucket/path``: hubs on several machines need one of the latter two. An explicit
    ``gateway_port`` is taken or refused; without one it is 8700, or the next free port.
    """

    model_config = SettingsConfigDict(env_prefix="BOXHUB_", env_nested_delimiter="__", frozen=True, extra="ignore")

    home: Path = DEFAULT_HOME
    nats_url: str = Field(default="nats://127.0.0.1:4222", repr=False)  # may hold a password
    store_url: str = Field(default="", repr=False)
    blobs_dir: Path = Path()
    blobs_url: str = Field(default="", repr=False)
    blob_replicas: int = Field(default=1, ge=1, le=5)  # servers that hold each blob on JetStream
    blob_cache_bytes: int = Field(default=10 * 1024 * MIB, gt=0)  # on this machine, per tenant; without blobs_url none
    tenants: Annotated[tuple[str, ...], NoDecode] = (DEFAULT_TENANT,)  # BOXHUB_TENANTS=one,two
    hub_id: str = ""
    """Names this replica. A name that stays the same over restarts says: the former process is dead for certain."""

    gateway: bool = True
    gateway_host: str = "127.0.0.1"
    gateway_port: int | None = Field(default=None, ge=0, le=65535)
    token: SecretStr = SecretStr("")
    """Bearer token of the gateway; made up and kept in ``home/token`` when empty."""

    limits: Limits = Limits()
    heartbeat_s: float = Field(default=2.0, gt=0)
    silent_s: float = Field(default=15.0, gt=0)  # a box or node that says nothing for so long is gone
    tasks: TaskSettings = TaskSettings()
    leader_ttl_s: float = Field(default=15.0, ge=0.2)
    connect_timeout_s: float = Field(default=30.0, gt=0)  # for the bus and the store, at the start
    store_timeout_s: float = Field(default=10.0, gt=0)
    shutdown_s: float = Field(default=10.0, gt=0)  # for everything that ends in order

    ready_fd: int | None = None
    """Where to write one JSON line when ready, and one for the first node that is there; the supervisor reads it."""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("tenants", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("tenants")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one tenant is needed")
        try:
            return tuple(dict.fromkeys(check_name(name, "tenant") for name in value))
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    @field_validator("store_url")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and parts.scheme not in ("sqlite", "mongodb", "mongodb+srv"):
            raise ValueError(f"{parts.scheme!r} is no store; use sqlite:///absolute/path or mongodb://host/database")
        if parts.scheme == "sqlite" and (parts.netloc or len(parts.path) < 2):
            raise ValueError("a SQLite store is sqlite:///absolute/path, with three slashes")
        return value

    @field_validator("blobs_url")
    @classmethod
    def _is_a_place_for_blobs(cls, value: str) -> str:
        scheme = urlsplit(value).scheme
        if value and (not scheme or (scheme == "jetstream" and value.rstrip("/") != "jetstream:")):
            raise ValueError(f"{value!r} is no place for blobs; use jetstream:, s3://bucket/path or file:///path")
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """What is not given lies in ``home``."""
        if isinstance(values, dict):
            home = Path(values.get("home") or DEFAULT_HOME).expanduser().absolute()
            values["home"] = home
            values["store_url"] = values.get("store_url") or f"sqlite://{quote(str(home / 'store.sqlite'))}"
            values["blobs_dir"] = Path(values.get("blobs_dir") or home / "blobs").expanduser().absolute()
            values["hub_id"] = values.get("hub_id") or f"hub-{secrets.token_hex(6)}"
        return values

    @property
    def tenant(self) -> str:
        """The tenant of who names none."""
        return self.tenants[0]

    @property
    def max_body_bytes(self) -> int:
        return self.limits.body_bytes

    @property
    def sqlite_path(self) -> Path | None:
        """Where the embedded store lies; ``None`` when the store is another."""
        parts = urlsplit(self.store_url)
        return Path(unquote(parts.path)) if parts.scheme == "sqlite" else None

    @property
    def database(self) -> str:
        """Name of the MongoDB database: the URL's path, or ``boxhub``."""
        return urlsplit(self.store_url).path.strip("/") or "boxhub"
