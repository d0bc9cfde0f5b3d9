"""The envelope: what validates survives a round trip, what does not is a typed error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope
from schemas.errors import InvalidInput, MalformedEnvelope

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.text(),
        "branch": st.text(),
        "correlationid": st.text(),
        "causationid": st.text(),
        "replyto": st.text(),
        "dataref": st.text(),
        "timeoutms": st.integers(0, 2**31),
        "sequence": st.integers(0, 2**53),
    },
)


@given(json_values, attributes, st.text(min_size=1))
def test_what_is_made_survives_the_wire(data, extra, source):
    made = envelope.make(envelope.MESSAGE, source, data, **extra)
    assert envelope.decode(envelope.encode(made)) == made


@given(st.binary())
def test_bytes_travel_as_data_base64(data):
    received = envelope.decode(envelope.encode(envelope.make(envelope.EVENT, "/default/a", data)))
    assert received.payload == data
    assert received.data is None


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_typed_error(body):
    with pytest.raises(MalformedEnvelope):
        envelope.decode(body)


@given(json_values)
def test_arbitrary_json_is_an_envelope_or_a_typed_error(value):
    try:
        envelope.decode(json.dumps(value).encode())
    except MalformedEnvelope:
        return
    assert isinstance(value, dict)
    assert value["specversion"] == "1.0"


REQUIRED = {"specversion": "1.0", "id": "1", "source": "/default/a", "type": "boxhub.event"}


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_each_required_attribute_is_required(missing):
    assert envelope.decode(json.dumps(REQUIRED).encode()).id == "1"
    with pytest.raises(MalformedEnvelope):
        envelope.decode(json.dumps({k: v for k, v in REQUIRED.items() if k != missing}).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"specversion": "0.3"},
        {"id": ""},
        {"id": 7},
        {"time": 12},
        {"timeoutms": "soon"},
        {"data": 1, "data_base64": "AA=="},
        {"data_base64": "not base64!"},
    ],
)
def test_wrong_attributes_are_refused(wrong):
    with pytest.raises(MalformedEnvelope):
        envelope.decode(json.dumps({**REQUIRED, **wrong}).encode())


def test_extension_attributes_of_others_are_ignored():
    assert envelope.decode(json.dumps({**REQUIRED, "theirextension": "x"}).encode()).source == "/default/a"


def test_data_that_is_not_json_is_refused_when_sent():
    with pytest.raises(InvalidInput, match="not JSON"):
        envelope.encode(envelope.make(envelope.EVENT, "/default/a", {"key": object()}))


def test_encoding_deep_data_is_a_typed_error_too():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInput):
        envelope.encode(envelope.make(envelope.EVENT, "/default/a", deep))
    with pytest.raises(MalformedEnvelope):
        envelope.decode(json.dumps(REQUIRED)[:-1].encode() + b',"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    while deep:  # taken apart by hand: freeing it recursively is slow
        deep = deep.pop()  # type: ignore[assignment]


def test_the_wire_form_is_cloudevents_json():
    made = envelope.make(envelope.EVENT, "/default/shop", {"cup": 1}, subject="coffee.sold")
    wire = json.loads(envelope.encode(made))
    assert wire.keys() == {"specversion", "id", "source", "type", "time", "subject", "data"}
    assert wire["specversion"] == "1.0"
    assert all(k.islower() and k.isalnum() for k in wire), "CloudEvents attribute names are lower-case alphanumeric"


def test_time_is_rfc3339_and_does_not_go_backwards():
    stamps = [envelope.now() for _ in range(1000)]
    assert stamps == sorted(stamps)
    assert len(stamps[0]) == len("2026-01-01T00:00:00.000Z")
