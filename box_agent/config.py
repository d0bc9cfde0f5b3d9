"""Settings of a process that talks on the bus; the only place in this package that reads the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.subjects import DEFAULT_TENANT


class AgentSettings(BaseSettings):
    """Every field is an environment variable ``BOXHUB_<FIELD>``. Times are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="BOXHUB_", frozen=True, extra="ignore")

    nats_url: str = ""
    """Where the bus is, with credentials; empty: look for a running hub, or start one."""
    tenant: str = DEFAULT_TENANT
    home: Path = Path("~/.local/state/boxhub")
    """Directory of the connection file of `boxhub up`."""

    # --- connection ---
    connect_timeout_s: float = Field(default=10.0, gt=0)
    reconnect_wait_s: float = Field(default=0.1, gt=0)
    ping_interval_s: float = Field(default=2.0, gt=0)
    max_pending_bytes: int = Field(default=16 * 1024 * 1024, ge=64 * 1024)
    """What may wait for the socket; beyond it signals are dropped (and counted), publishes wait."""

    # --- durable publish ---
    publish_timeout_s: float = Field(default=15.0, gt=0)
    """A publish is retried with the same id until then."""
    ack_timeout_s: float = Field(default=2.0, gt=0)
    """One try of a publish waits this long for the server's confirmation."""
    max_publishes: int = Field(default=1024, ge=1)
    """Unconfirmed publishes at once; further ones wait."""

    # --- durable receive ---
    ack_wait_s: float = Field(default=15.0, gt=0)
    """A message whose holder fell silent is given out again after this time."""
    prefetch: int = Field(default=256, ge=1)
    """Messages held per subscription, running ones included."""
    handlers: int = Field(default=16, ge=1)
    """Handlers of one subscription that run at once, for different senders."""
    max_deliver: int = Field(default=5, ge=1)
    """Tries before a message becomes a dead letter."""
    retry_initial_s: float = Field(default=0.1, ge=0)
    retry_max_s: float = Field(default=5.0, ge=0)
    remembered_ids: int = Field(default=10_000, ge=1)
    """Handled message ids kept per subscription, so that a duplicate is recognised."""
    signal_backlog: int = Field(default=65_536, ge=1)
    """Signals waiting for one handler; beyond it they are dropped (and counted)."""

    # --- streams, when this process is the first to need them ---
    # nats-server reserves the sizes, so they must fit into its max_file_store together.
    duplicate_window_s: float = Field(default=300.0, gt=0)
    events_max_age_s: float = Field(default=7 * 86_400.0, gt=0)
    events_max_bytes: int = Field(default=256 * 1024**2, gt=0)
    inbox_max_bytes: int = Field(default=256 * 1024**2, gt=0)
    dead_max_age_s: float = Field(default=30 * 86_400.0, gt=0)
    dead_max_bytes: int = Field(default=64 * 1024**2, gt=0)
    reports_max_bytes: int = Field(default=256 * 1024**2, gt=0)

    # --- calls ---
    call_timeout_s: float = Field(default=30.0, gt=0)
    concurrency: int = Field(default=64, ge=1)
    """Skill calls that run at once; as many again may wait, the next is refused as overloaded."""
    ask_s: float = Field(default=1.5, gt=0)
    """A call that has no answer is asked after this often; it is lost when nobody knows of it, twice in a row."""
    stream_credit: int = Field(default=64, ge=1)
    """Chunks of a streaming call that may be under way before the reader takes one."""
    keepalive_s: float = Field(default=5.0, gt=0)
    """A silent streaming call says this often that it lives; silence of three times this ends it."""
    attempts: int = Field(default=16, ge=1)
    """Task attempts an attached agent runs at once."""

    # --- presence and end ---
    beat_s: float = Field(default=2.0, gt=0)
    close_timeout_s: float = Field(default=5.0, gt=0)
    """Closing waits this long for running handlers and skills before it cancels them."""

    @property
    def connection_file(self) -> Path:
        return self.home.expanduser() / "connection.json"
