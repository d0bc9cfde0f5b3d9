"""Headers, ack subjects, and who a subject proves to have sent."""

from __future__ import annotations

import pytest

from box_agent.address import address_of, checked_id
from box_agent.bus import trace
from box_agent.bus.dead_letters import for_another
from box_agent.bus.pull import Delivered
from box_agent.bus.received import origin, proved, sender_of
from box_agent.bus.replies import status_of
from schemas import envelope as envelopes
from schemas.errors import InvalidInput, InvalidSubject

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (None, 0),
        (b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n", 0),
        (b"NATS/1.0 503\r\n\r\n", 503),
        (b"NATS/1.0 100 Idle Heartbeat\r\n\r\n", 100),
        (b"NATS/1.0 abc\r\n\r\n", 0),
    ],
)
def test_status(headers: bytes | None, status: int) -> None:
    assert status_of(headers) == status


def test_header_blocks_carry_id_and_trace_and_nothing_else() -> None:
    assert trace.header_block() is None
    assert trace.header_block("id") == b"NATS/1.0\r\nNats-Msg-Id: id\r\n\r\n"
    token = trace.use(TRACE)
    try:
        assert trace.from_headers(trace.header_block()) == TRACE
        assert trace.from_headers(trace.header_block("id")) == TRACE
    finally:
        trace.reset(token)


@pytest.mark.parametrize("bad", ["x", TRACE + "\r\nEvil: 1", TRACE.upper(), ""])
def test_a_malformed_trace_goes_no_further(bad: str) -> None:
    token = trace.use(bad)
    try:
        assert trace.current() is None
    finally:
        trace.reset(token)


@pytest.mark.parametrize(
    "reply",
    [b"$JS.ACK.STREAM.durable.3.41.7.1700000000.5", b"$JS.ACK.hub.ACCOUNT.STREAM.durable.3.41.7.1700000000.5.random"],
)
def test_ack_subjects_of_both_forms(reply: bytes) -> None:
    delivered = Delivered(b"s", reply, b"", None)
    assert (delivered.deliveries, delivered.sequence, delivered.consumer_sequence) == (3, 41, 7)


def test_a_redriven_event_is_for_one_consumer() -> None:
    headers = b"NATS/1.0\r\nNats-Msg-Id: !redrive/events-a/9\r\n\r\n"
    assert not for_another(headers, "events-a")
    assert for_another(headers, "events")
    assert for_another(headers, "events-ab")
    assert not for_another(b"NATS/1.0\r\nNats-Msg-Id: redrive/planner/1\r\n\r\n", "events")
    assert not for_another(None, "events")


def test_the_subject_proves_the_sender() -> None:
    parsed, source = origin(b"t.v1.inbox.coder.from.mallory")
    assert (parsed.sender, source) == ("mallory", "/t/mallory")
    honest = envelopes.make(envelopes.MESSAGE, "/t/mallory")
    assert proved(honest, source) is honest
    assert proved(envelopes.make(envelopes.MESSAGE, "/t/planner"), source).source == "/t/mallory"
    assert sender_of(b"nothing of ours") == ""
    with pytest.raises(InvalidSubject):
        origin(b"t.v1.inbox.\xff.from.x")


class Named:
    address = "coder"


def test_addresses() -> None:
    assert address_of("coder") == address_of(Named()) == "coder"
    with pytest.raises(InvalidInput, match="no address"):
        address_of(7)


def test_ids() -> None:
    assert checked_id(None) is None
    assert checked_id("order-1") == "order-1"
    for bad in ("", "a b", "a\r\nb", "é", "x" * 201):
        with pytest.raises(InvalidInput):
            checked_id(bad)
