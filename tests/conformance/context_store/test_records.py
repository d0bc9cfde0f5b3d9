"""What `backend.py` promises of records."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_store.backend import Backend, Collection, Record, Records
from schemas.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RevisionConflict,
    StoreUnavailable,
)

THINGS = Collection("things", indexes=("state", "rank", "spec.box"), unique=("name",), text="body")


@pytest.fixture
def records(backend: Backend) -> Records:
    return backend.records("default", THINGS)


async def keys(records: Records, *args: Any, **kwargs: Any) -> list[str]:
    return [record.key for record in await records.find(*args, **kwargs)]


async def test_a_record_from_insert_to_delete(records):
    assert await records.get("a") is None
    assert await records.insert("a", {"n": 1}) == 1
    assert await records.get("a") == Record("a", 1, {"n": 1})
    assert await records.replace("a", {"n": 2}, expected=1) == 2
    assert await records.get("a") == Record("a", 2, {"n": 2})
    assert await records.delete("a", expected=2) is True
    assert await records.get("a") is None
    assert await records.delete("a") is False


async def test_insert_may_choose_the_first_revision(records):
    assert await records.insert("a", {}, revision=41) == 41
    assert await records.replace("a", {}, expected=41) == 42


async def test_what_is_not_expected_is_refused_and_changes_nothing(records):
    await records.insert("a", {"n": 1})
    with pytest.raises(AlreadyExists) as taken:
        await records.insert("a", {"n": 9})
    assert (taken.value.details["key"], taken.value.details["field"]) == ("a", "")
    with pytest.raises(RevisionConflict) as conflict:
        await records.replace("a", {"n": 9}, expected=7)
    assert (conflict.value.details["expected"], conflict.value.details["actual"]) == (7, 1)
    with pytest.raises(RevisionConflict) as absent:
        await records.replace("b", {}, expected=1)
    assert absent.value.details["actual"] is None
    with pytest.raises(RevisionConflict):
        await records.delete("a", expected=3)
    assert await records.get("a") == Record("a", 1, {"n": 1})


@pytest.mark.parametrize(
    "doc",
    [
        {"a.b": 1, "$set": {"x": [[1], [2, [3]]]}, "": None, "_id": "mine"},
        {"big": 2**70, "small": -(2**63), "float": 0.1 + 0.2, "tiny": 5e-324, "zero": -0.0},
        {"surrogate": "\udc80\ud800", "nul": "a\0b", "emoji": "😀", "nested\0key": {"k.k": "\udfff"}},
        {"t": True, "f": False, "n": None, "list": [], "dict": {}, "mixed": [1, "1", 1.0, None, {"a": []}]},
    ],
)
async def test_any_json_survives_unchanged(records, doc):
    await records.insert("a", doc)
    stored = await records.get("a")
    assert repr(stored.doc) == repr(doc)  # repr: types, order of keys and the sign of zero as well


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
)
async def test_any_key_and_value_survive(records, key, value):
    await records.delete(key)
    await records.insert(key, {"value": value})
    assert await records.get(key) == Record(key, 1, {"value": value})
    assert key in await keys(records, prefix=key)


@pytest.mark.parametrize("doc", [{"n": math.nan}, {"n": math.inf}, {"b": b"bytes"}, {"s": {1, 2}}, ["no dict"], "text"])
async def test_what_is_not_json_is_refused(records, doc):
    with pytest.raises(InvalidInput):
        await records.insert("a", doc)


@pytest.mark.parametrize("key", ["", "a\0b", "\udc80", "k" * 1025, 7])
async def test_bad_keys_are_refused(records, key):
    for operation in (records.get(key), records.insert(key, {}), records.delete(key)):
        with pytest.raises(InvalidInput):
            await operation


@pytest.mark.parametrize("value", [[1], {"a": 1}, 2**63, "\udc80", "x" * 1025])
async def test_an_indexed_field_must_be_a_scalar_a_database_can_compare(records, value):
    with pytest.raises(InvalidInput, match=r"things\.state"):
        await records.insert("a", {"state": value})


async def test_a_document_has_a_largest_size(records):
    await records.insert("a", {"x": "y" * 7_000_000})
    with pytest.raises(PayloadTooLarge):
        await records.insert("b", {"x": "y" * 9_000_000})


async def test_unique_values_are_unique_within_a_tenant_and_nulls_do_not_clash(backend, records):
    await records.insert("a", {"name": "n"})
    await records.insert("b", {"name": None})
    await records.insert("c", {})
    for doc in ({"name": "n"},):
        with pytest.raises(AlreadyExists) as taken:
            await records.insert("d", doc)
        assert taken.value.details["field"] == "name"
    with pytest.raises(AlreadyExists):
        await records.replace("b", {"name": "n"}, expected=1)
    assert await records.get("b") == Record("b", 1, {"name": None})
    await backend.records("other", THINGS).insert("a", {"name": "n"})
    await records.replace("a", {"name": "m"}, expected=1)
    await records.insert("d", {"name": "n"})


@pytest.mark.parametrize(
    ("one", "other", "clash"), [(1, 1.0, True), (True, 1, True), (1, "1", False), ("a", "A", False)]
)
async def test_equal_means_the_same_in_every_database(records, one, other, clash):
    await records.insert("a", {"name": one, "rank": one})
    assert await keys(records, {"rank": other}) == (["a"] if clash else [])
    if clash:
        with pytest.raises(AlreadyExists):
            await records.insert("b", {"name": other})
    else:
        await records.insert("b", {"name": other})


async def test_tenants_do_not_see_each_other(backend):
    mine, theirs = backend.records("a", THINGS), backend.records("a-b", THINGS)
    await mine.insert("k", {"state": "x", "whose": "mine", "body": "words"})
    await theirs.insert("k", {"state": "x", "whose": "theirs", "body": "words"})
    assert [r.doc["whose"] for r in await mine.find({"state": "x"}, text="words")] == ["mine"]
    assert [r.doc["whose"] for r in await theirs.find()] == ["theirs"]
    assert await mine.delete("k")
    assert (await theirs.get("k")).doc["whose"] == "theirs"
    for tenant in ("", "A", "a/b", "../x"):
        with pytest.raises(InvalidInput):
            backend.records(tenant, THINGS)


# --- finding --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def some(records: Records) -> Records:
    docs: dict[str, dict[str, Any]] = {
        "a/1": {"state": "open", "rank": 3, "spec": {"box": "x"}, "body": "The Quick brown fox"},
        "a/2": {"state": "done", "rank": 1, "spec": {"box": "y"}, "body": "jumps over\0the LAZY dog"},
        "a/3": {"state": "open", "rank": 2.5, "spec": "no dict", "body": '100% of_it (regex.*) "quoted" straße'},
        "b/1": {"rank": None, "body": 7},
        "b/2": {"state": None, "rank": "text"},
        "é": {"state": "open", "rank": -1, "spec": {"box": None}},
        "𐀀": {"state": "done", "rank": 3},
    }
    for key, doc in docs.items():
        await records.insert(key, doc)
    return records


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (None, ["a/1", "a/2", "a/3", "b/1", "b/2", "é", "𐀀"]),
        ({"state": "open"}, ["a/1", "a/3", "é"]),
        ({"state": ("open", "done")}, ["a/1", "a/2", "a/3", "é", "𐀀"]),
        ({"state": None}, ["b/1", "b/2"]),
        ({"state": ("done", None)}, ["a/2", "b/1", "b/2", "𐀀"]),
        ({"state": ()}, []),
        ({"state": "open", "rank": (3, -1)}, ["a/1", "é"]),
        ({"spec.box": "y"}, ["a/2"]),
        ({"spec.box": None}, ["a/3", "b/1", "b/2", "é", "𐀀"]),
        ({"rank": 2.5}, ["a/3"]),
        ({"rank": "3"}, []),
    ],
)
async def test_find_by_fields(some, where, found):
    assert await keys(some, where) == found


@pytest.mark.parametrize(
    ("prefix", "found"),
    [("a/", ["a/1", "a/2", "a/3"]), ("a", ["a/1", "a/2", "a/3"]), ("é", ["é"]), ("x", []), ("𐀀", ["𐀀"]), ("", 7)],
)
async def test_find_by_prefix(some, prefix, found):
    got = await keys(some, prefix=prefix)
    assert len(got) == found if isinstance(found, int) else got == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("quick", ["a/1"]),
        ("QUICK fox", ["a/1"]),
        ("fox quick", ["a/1"]),
        ("the", ["a/1", "a/2"]),
        ("uic", ["a/1"]),
        ("o", ["a/1", "a/2", "a/3"]),
        ("dog quick", []),
        ("(regex.*)", ["a/3"]),
        ("regex.x", []),
        ('"quoted"', ["a/3"]),
        ("100% of_it", ["a/3"]),
        ("%", ["a/3"]),
        ("STRASSE", ["a/3"]),
    ],
)
async def test_find_by_words(some, words, found):
    assert await keys(some, text=words) == found


async def test_words_follow_the_record(some):
    record = await some.get("a/1")
    await some.replace("a/1", {"body": "something else"}, expected=record.revision)
    assert await keys(some, text="quick") == []
    assert await keys(some, text="something") == ["a/1"]
    assert await keys(some, {"state": "open"}, text="something") == []
    await some.delete("a/1")
    assert await keys(some, text="something") == []


ORDERS = {
    "key": ["a/1", "a/2", "a/3", "b/1", "b/2", "é", "𐀀"],
    "rank": ["b/1", "é", "a/2", "a/3", "a/1", "𐀀", "b/2"],
    "state": ["b/1", "b/2", "a/2", "𐀀", "a/1", "a/3", "é"],
}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("order", ["key", "-key", "rank", "-rank", "state", "-state"])
async def test_pages_in_any_order_give_everything_once(some, order, size):
    expected = ORDERS[order.removeprefix("-")]
    if order.startswith("-"):
        expected = expected[::-1]
    got: list[str] = []
    after = None
    while page := await some.find(order=order, limit=size, after=after):
        got += [record.key for record in page]
        after = page[-1]
    assert got == expected
    assert await keys(some, order=order) == expected


async def test_pages_by_key_go_on_after_a_bare_key_and_within_conditions(some):
    assert await keys(some, after="a/2", limit=2) == ["a/3", "b/1"]
    assert await keys(some, prefix="a/", after="a/1") == ["a/2", "a/3"]
    assert await keys(some, prefix="a/", after="a/3", order="-key") == ["a/2", "a/1"]
    assert await keys(some, prefix="a/", after="zzz", order="-key") == ["a/3", "a/2", "a/1"]
    assert await keys(some, {"state": "open"}, after="a/1") == ["a/3", "é"]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (({"unknown": 1},), {}),
        ((), {"order": "unknown"}),
        ((), {"limit": 0}),
        ((), {"limit": 10_001}),
        ((), {"order": "rank", "after": "a/1"}),
        (({"state": [1]},), {}),
        (({"state": ("ok", {"no": 1})},), {}),
    ],
)
async def test_questions_that_cannot_be_answered_are_refused(some, args, kwargs):
    with pytest.raises(InvalidInput):
        await some.find(*args, **kwargs)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.dictionaries(
        st.text("ab/é", min_size=1, max_size=3),
        st.none() | st.integers(-3, 3) | st.floats(-3, 3) | st.text("xyz", max_size=2),
        min_size=1,
        max_size=12,
    ),
    size=st.integers(1, 5),
    descending=st.booleans(),
)
async def test_paging_agrees_with_sorting_in_memory(backend, rows, size, descending):
    records = backend.records("paging", THINGS)
    for record in await records.find(limit=1000):
        await records.delete(record.key)
    for key, value in rows.items():
        await records.insert(key, {"rank": value})

    def rank(item: tuple[str, Any]) -> Any:
        key, value = item
        kind = 0 if value is None else 2 if isinstance(value, str) else 1
        return kind, value if value is not None else 0, key

    got: list[str] = []
    after = None
    while page := await records.find(order="-rank" if descending else "rank", limit=size, after=after):
        got += [record.key for record in page]
        after = page[-1]
    assert got == [key for key, _ in sorted(rows.items(), key=rank, reverse=descending)]


# --- races ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def rivals(new_backend) -> AsyncIterator[list[Records]]:
    """The same records through four backends, as four processes have them."""
    async with new_backend() as a, new_backend() as b, new_backend() as c, new_backend() as d:
        everyone = [backend.records("default", THINGS) for backend in (a, b, c, d)]
        await asyncio.gather(*(records.get("warm-up") for records in everyone))
        yield everyone


async def outcomes(*operations: Any) -> list[Any]:
    return await asyncio.gather(*operations, return_exceptions=True)


async def test_one_insert_wins(rivals):
    for turn in range(10):
        got = await outcomes(*(r.insert(f"k{turn}", {"by": n}) for n, r in enumerate(rivals)))
        assert sum(outcome == 1 for outcome in got) == 1
        assert sum(isinstance(outcome, AlreadyExists) for outcome in got) == 3
        winner = got.index(1)
        assert (await rivals[0].get(f"k{turn}")).doc == {"by": winner}


async def test_one_unique_value_wins(rivals):
    for turn in range(10):
        got = await outcomes(*(r.insert(f"{turn}/{n}", {"name": f"n{turn}"}) for n, r in enumerate(rivals)))
        assert sum(outcome == 1 for outcome in got) == 1
        assert len(await rivals[0].find({"name": f"n{turn}"})) == 1


async def test_one_replace_wins(rivals):
    await rivals[0].insert("k", {})
    for revision in range(1, 31):
        got = await outcomes(*(r.replace("k", {"by": n}, expected=revision) for n, r in enumerate(rivals)))
        assert [outcome for outcome in got if not isinstance(outcome, RevisionConflict)] == [revision + 1]
        assert (await rivals[0].get("k")).doc == {"by": got.index(revision + 1)}


async def test_replace_and_delete_do_not_both_win(rivals):
    for turn in range(15):
        await rivals[0].insert(f"k{turn}", {})
        replaced, deleted = await outcomes(
            rivals[0].replace(f"k{turn}", {"x": 1}, expected=1), rivals[1].delete(f"k{turn}", expected=1)
        )
        assert isinstance(replaced, RevisionConflict) != isinstance(deleted, RevisionConflict)
        assert (await rivals[2].get(f"k{turn}") is None) == (deleted is True)


async def test_update_loses_nothing(rivals):
    await rivals[0].insert("counter", {"n": 0})

    async def count(records: Records) -> None:
        for _ in range(15):
            await records.update("counter", lambda doc: {"n": doc["n"] + 1}, retries=500)

    await asyncio.gather(*(count(r) for r in rivals))
    assert await rivals[0].get("counter") == Record("counter", 61, {"n": 60})


async def test_update_without_a_change_writes_nothing_and_errors_pass_through(records):
    await records.insert("a", {"n": 1})
    assert await records.update("a", lambda doc: None) == Record("a", 1, {"n": 1})
    with pytest.raises(NotFound):
        await records.update("b", lambda doc: doc)
    with pytest.raises(ZeroDivisionError):
        await records.update("a", lambda doc: {"n": 1 // 0})
    assert (await records.get("a")).revision == 1


# --- life -----------------------------------------------------------------------------------------------------------


async def test_a_cancelled_write_happened_or_did_not(records):
    await records.insert("a", {"n": 0})
    revision = 1
    for n in range(1, 40):
        write = asyncio.ensure_future(records.replace("a", {"n": n}, expected=revision))
        for _ in range(n % 4):
            await asyncio.sleep(0)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        # A later write of another key is behind it, so what is read then is what came of it.
        await records.insert(f"barrier{n}", {})
        while True:
            seen = await records.get("a")
            try:
                revision = await records.replace("a", seen.doc, expected=seen.revision)
            except RevisionConflict:
                continue
            break
        assert seen.doc["n"] <= n


async def test_what_was_written_is_there_after_closing_and_opening_again(new_backend):
    async with new_backend() as first:
        await first.records("default", THINGS).insert("a", {"state": "x", "body": "words"})
    async with new_backend() as second:
        records = second.records("default", THINGS)
        assert await keys(records, {"state": "x"}, text="words") == ["a"]


async def test_a_field_added_later_finds_older_records(new_backend):
    before = Collection("growing", indexes=("a",))
    after = Collection("growing", indexes=("a", "b"), unique=("c",), text="words")
    async with new_backend() as backend:
        for n in range(5):
            doc = {"a": n, "b": n / 3, "c": f"c{n}", "words": f"word{n}"}
            await backend.records("default", before).insert(f"k{n}", doc)
    async with new_backend() as backend:
        records = backend.records("default", after)
        assert await keys(records, {"b": 2 / 3}) == ["k2"]
        assert await keys(records, text="word3") == ["k3"]
        with pytest.raises(AlreadyExists):
            await records.insert("k9", {"c": "c4"})
        assert (await records.get("k1")).revision == 1


async def test_a_field_cannot_become_unique_when_values_clash(new_backend):
    async with new_backend() as backend:
        records = backend.records("default", Collection("clashing", indexes=("c",)))
        await records.insert("a", {"c": 1})
        await records.insert("b", {"c": 1})
    async with new_backend() as backend:
        with pytest.raises(Conflict, match=r"clashing\.c"):
            await backend.records("default", Collection("clashing", unique=("c",))).get("a")


async def test_closed_and_unopened_backends_say_so(new_backend):
    backend = new_backend()
    records = backend.records("default", THINGS)
    with pytest.raises(StoreUnavailable, match="not open"):
        await records.get("a")
    await backend.open()
    await backend.ping()
    await records.insert("a", {})
    await backend.aclose()
    await backend.aclose()
    for operation in (records.get("a"), records.insert("b", {}), records.find(), backend.ping()):
        with pytest.raises(StoreUnavailable, match="closed"):
            await operation
    with pytest.raises(StoreUnavailable):
        await backend.open()


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_what_is_under_way_when_it_closes_answers_or_says_closed(new_backend, turns):
    async with new_backend() as backend:
        records = backend.records("default", THINGS)
        await records.insert("a", {"colour": "red"})
        under_way = [asyncio.ensure_future(records.find(prefix="a", limit=1000)) for _ in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
    for outcome in await outcomes(*under_way):
        if isinstance(outcome, Exception):
            assert isinstance(outcome, StoreUnavailable) and "closed" in outcome.message
        else:
            assert [record.key for record in outcome] == ["a"]


async def test_never_opened_closes(new_backend):
    await new_backend().aclose()


@pytest.mark.parametrize("name", ["", "Upper", "with-dash", "1st", "x" * 41, 'a"; DROP TABLE x; --'])
def test_names_that_reach_the_database_are_checked(name):
    with pytest.raises(InvalidInput):
        Collection(name)
    with pytest.raises(InvalidInput):
        Collection("fine", indexes=(name,))
