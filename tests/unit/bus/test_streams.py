"""What our streams keep, and for how long."""

from __future__ import annotations

import pytest

from box_agent.bus.consumers import ConsumerSpec, Start
from box_agent.bus.streams import Kind, stream_config
from box_agent.config import AgentSettings

SETTINGS = AgentSettings()


@pytest.mark.parametrize("kind", ["inbox", "report"])
def test_mail_and_reports_stay_until_acknowledged(kind: Kind) -> None:
    config = stream_config(kind, "t", SETTINGS)
    assert (config["retention"], config["discard"], config["storage"]) == ("workqueue", "new", "file")
    assert "max_age" not in config


@pytest.mark.parametrize("kind", ["event", "dead"])
def test_events_and_dead_letters_are_kept_for_a_while(kind: Kind) -> None:
    config = stream_config(kind, "t", SETTINGS)
    assert (config["retention"], config["discard"]) == ("limits", "old")
    assert config["max_age"] > 0


@pytest.mark.parametrize("kind", ["inbox", "event", "report", "dead"])
def test_every_stream_is_bounded_and_remembers_ids_longer_than_a_publish_is_retried(kind: Kind) -> None:
    config = stream_config(kind, "t", SETTINGS)
    assert config["max_bytes"] > 0
    assert config["duplicate_window"] >= 10 * SETTINGS.publish_timeout_s * 1e9


def test_where_consumers_start() -> None:
    assert Start().config() == {"deliver_policy": "new"}
    assert Start(first=True).config() == {"deliver_policy": "all"}
    assert Start(sequence=0).config() == {"deliver_policy": "by_start_sequence", "opt_start_seq": 1}
    assert Start(since=0.0).config() == {"deliver_policy": "by_start_time", "opt_start_time": "1970-01-01T00:00:00Z"}


def test_the_server_never_gives_up_on_a_message_by_itself() -> None:
    durable = ConsumerSpec("S", "c", "f", Start()).config()
    assert (durable["ack_policy"], durable["max_deliver"]) == ("explicit", -1)
    ephemeral = ConsumerSpec("S", "c", "f", Start(), durable=False).config()
    assert ephemeral["ack_policy"] == "none"
    assert "durable_name" not in ephemeral
