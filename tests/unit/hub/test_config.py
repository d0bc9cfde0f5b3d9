"""Settings: defaults, the environment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hub.config import HubSettings


def test_what_is_not_given_lies_in_home(tmp_path: Path) -> None:
    settings = HubSettings(home=tmp_path)
    assert settings.sqlite_path == tmp_path / "store.sqlite"
    assert settings.blobs_dir == tmp_path / "blobs"
    assert settings.tenants == ("default",)
    assert settings.gateway_port is None


def test_a_home_with_odd_characters_gives_a_store_url_that_leads_back(tmp_path: Path) -> None:
    home = tmp_path / "a b#c?d%e"
    assert HubSettings(home=home).sqlite_path == home / "store.sqlite"


def test_every_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert HubSettings(home=tmp_path).hub_id != HubSettings(home=tmp_path).hub_id


def test_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXHUB_HOME", str(tmp_path))
    monkeypatch.setenv("BOXHUB_TENANTS", "one, two,one")
    monkeypatch.setenv("BOXHUB_LIMITS__VALUE_BYTES", "77")
    monkeypatch.setenv("BOXHUB_TASKS__LEASE_S", "3")
    monkeypatch.setenv("BOXHUB_TOKEN", "secret-token")
    settings = HubSettings()
    assert settings.home == tmp_path
    assert settings.tenants == ("one", "two")
    assert settings.tenant == "one"
    assert settings.limits.value_bytes == 77
    assert settings.tasks.lease_s == 3
    assert settings.token.get_secret_value() == "secret-token"


def test_no_secret_is_printed() -> None:
    settings = HubSettings(
        nats_url="nats://user:hidden-one@h:1",
        store_url="mongodb://u:hidden-two@h/db",
        token="hidden-three",
        blobs_url="s3://key:hidden-four@bucket",
    )
    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings)


def test_mongodb_names_its_database() -> None:
    assert HubSettings(store_url="mongodb://h:1/agents?x=y").database == "agents"
    assert HubSettings(store_url="mongodb://h:1").database == "boxhub"
    assert HubSettings(store_url="mongodb://h:1").sqlite_path is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store_url", "redis://h"),
        ("store_url", "sqlite://relative"),
        ("store_url", "/a/path"),
        ("blobs_url", "/a/path"),
        ("blobs_url", "jetstream://a-server"),
        ("tenants", ""),
        ("tenants", "UPPER"),
        ("tenants", "_system"),
        ("gateway_port", 70000),
        ("silent_s", 0),
        ("leader_ttl_s", 0.1),
        ("log_level", "loud"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        HubSettings.model_validate({field: value})
    assert refused.value.errors()[0]["loc"][0] == field


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = HubSettings(home=tmp_path)
    with pytest.raises(ValidationError):
        settings.silent_s = 1.0  # type: ignore[misc]
