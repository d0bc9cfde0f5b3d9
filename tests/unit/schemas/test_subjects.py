"""Subjects: built and parsed in one place, so building and parsing must be each other's inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import subjects
from schemas.errors import InvalidSubject
from schemas.subjects import Subject

tokens = st.from_regex(r"_?[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
names = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True), min_size=1, max_size=8).map(".".join)


@given(tokens, tokens, tokens, tokens, names)
def test_every_kind_parses_back(tenant, a, b, c, name):
    built = {
        subjects.inbox(tenant, a, b): Subject(tenant, "inbox", sender=b, box=a),
        subjects.event(tenant, a, name): Subject(tenant, "event", sender=a, name=name),
        subjects.signal(tenant, a, name): Subject(tenant, "signal", sender=a, name=name),
        subjects.call(tenant, a, b, c): Subject(tenant, "call", sender=b, box=a, name=c),
        subjects.control(tenant, a, b, c): Subject(tenant, "control", sender=b, box=a, name=c),
        subjects.report(tenant, a, b): Subject(tenant, "report", sender=a, name=b),
        subjects.dead(tenant, a): Subject(tenant, "dead", box=a),
    }
    assert {text: subjects.parse(text) for text in built} == built


@given(st.text())
def test_any_other_text_is_a_typed_error(text):
    try:
        parsed = subjects.parse(text)
    except InvalidSubject:
        return
    assert parsed.tenant in text


@given(st.text(), st.text(), st.text())
def test_no_name_can_smuggle_a_token_in(tenant, to, sender):
    """Whatever the parts hold, the built subject has the tokens we meant or is refused."""
    try:
        built = subjects.inbox(tenant, to, sender)
    except InvalidSubject:
        return
    assert built.split(".") == [tenant, "v1", "inbox", to, "from", sender]


@pytest.mark.parametrize("bad", ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n", "é", ".".join("x" * 9)])
def test_event_names_that_are_refused(bad):
    with pytest.raises(InvalidSubject):
        subjects.event_name(bad)


@pytest.mark.parametrize("good", ["a", "*", ">", "a.*", "a.>", "*.b.>"])
def test_patterns_with_wildcards(good):
    assert subjects.event_pattern(good) == good


@pytest.mark.parametrize("bad", ["a.>.b", "a*", ">a", "a. *"])
def test_patterns_that_are_refused(bad):
    with pytest.raises(InvalidSubject):
        subjects.event_pattern(bad)
