"""Key-values: revisions, compare-and-set, time to live, watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from context_store.blobs.directory import DirectoryBlobs
from context_store.keyvalues import KeyValues
from context_store.store import ContextStore
from schemas.errors import InvalidInput, PayloadTooLarge, RevisionConflict
from schemas.keyvalue import Entry


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keyvalues(new_backend, tmp_path, clock) -> AsyncIterator[KeyValues]:
    async with ContextStore(new_backend(), DirectoryBlobs(tmp_path / "b"), clock=clock, poll_s=0.02) as store:
        yield store.tenant("default").keyvalues


async def test_put_get_delete(keyvalues, clock):
    assert await keyvalues.get("k") is None
    entry = await keyvalues.put("k", {"deep": [1, None]})
    assert entry == Entry(key="k", value={"deep": [1, None]}, revision=1, updated_at=clock.now)
    assert await keyvalues.get("k") == entry
    assert (await keyvalues.put("k", None)).revision == 2
    assert (await keyvalues.get("k")).value is None
    assert await keyvalues.delete("k") is True
    assert await keyvalues.get("k") is None
    assert await keyvalues.delete("k") is False


async def test_revisions_never_repeat(keyvalues, clock):
    seen = [(await keyvalues.put("k", n)).revision for n in range(3)]
    await keyvalues.delete("k")
    seen.append((await keyvalues.put("k", 3)).revision)
    await keyvalues.delete("k")
    clock.now += 10
    assert await keyvalues.purge(older_than_s=5) == 1
    seen.append((await keyvalues.put("k", 4)).revision)
    assert seen == sorted(set(seen))
    assert (await keyvalues.put("another", 1)).revision > max(seen[:-1])


async def test_purge_leaves_young_tombstones_and_live_keys(keyvalues, clock):
    await keyvalues.put("live", 1)
    await keyvalues.put("young", 1)
    clock.now += 100
    await keyvalues.delete("young")
    assert await keyvalues.purge(older_than_s=50) == 0
    assert (await keyvalues.get("live")).value == 1


async def test_compare_and_set(keyvalues):
    with pytest.raises(RevisionConflict) as absent:
        await keyvalues.put("k", 1, expected_revision=4)
    assert absent.value.details["actual"] == 0
    one = await keyvalues.put("k", 1, expected_revision=0)
    with pytest.raises(RevisionConflict) as present:
        await keyvalues.put("k", 2, expected_revision=0)
    assert present.value.details["actual"] == one.revision
    two = await keyvalues.put("k", 2, expected_revision=one.revision)
    with pytest.raises(RevisionConflict):
        await keyvalues.delete("k", expected_revision=one.revision)
    assert await keyvalues.delete("k", expected_revision=two.revision)
    assert (await keyvalues.put("k", 3, expected_revision=0)).revision > two.revision


async def test_an_expired_entry_is_absent_to_every_verb(keyvalues, clock):
    first = await keyvalues.put("k", 1, ttl_s=10)
    assert first.expires_at == clock.now + 10
    clock.now += 9.9
    assert (await keyvalues.get("k")).value == 1
    clock.now += 0.1
    assert await keyvalues.get("k") is None
    assert await keyvalues.list() == []
    assert await keyvalues.delete("k") is False
    with pytest.raises(RevisionConflict):
        await keyvalues.put("k", 2, expected_revision=first.revision)
    assert (await keyvalues.put("k", 2, expected_revision=0)).revision > first.revision
    assert (await keyvalues.get("k")).expires_at is None


async def test_list_by_prefix_in_pages(keyvalues, clock):
    for n in range(30):
        await keyvalues.put(f"a/{n:02}", n, ttl_s=5 if n % 3 == 0 else None)
    await keyvalues.put("b/1", 1)
    await keyvalues.delete("a/01")
    clock.now += 6
    alive = [f"a/{n:02}" for n in range(30) if n % 3 and n != 1]
    assert [e.key for e in await keyvalues.list("a/")] == alive
    assert [e.key for e in await keyvalues.list("a/", limit=5)] == alive[:5]
    assert [e.key for e in await keyvalues.list("a/", limit=5, after=alive[4])] == alive[5:10]
    assert [e.key for e in await keyvalues.list()] == [*alive, "b/1"]


@pytest.mark.parametrize("call", [{"ttl_s": 0}, {"ttl_s": -1}, {"value": float("nan")}, {"value": object()}])
async def test_bad_input(keyvalues, call):
    with pytest.raises(InvalidInput):
        await keyvalues.put("k", **{"value": 1, **call})
    assert await keyvalues.get("k") is None


async def test_large_values_are_refused(keyvalues):
    with pytest.raises(PayloadTooLarge):
        await keyvalues.put("k", ["x" * 1024] * 1100)


async def test_one_of_many_wins_a_key(store, other_store):
    everyone = [s.tenant("default").keyvalues for s in (store, other_store)] * 4
    for turn in range(5):
        got = await asyncio.gather(
            *(kv.put(f"lock{turn}", n, expected_revision=0) for n, kv in enumerate(everyone)), return_exceptions=True
        )
        winners = [outcome for outcome in got if isinstance(outcome, Entry)]
        assert len(winners) == 1
        assert await everyone[0].get(f"lock{turn}") == winners[0]


async def test_puts_without_expectation_all_happen(store, other_store):
    everyone = [s.tenant("default").keyvalues for s in (store, other_store)] * 3
    entries = await asyncio.gather(*(kv.put("k", n) for kv in everyone for n in range(5)))
    assert sorted(entry.revision for entry in entries) == list(range(1, 31))


async def test_purge_and_writers_race_without_going_back(store, other_store):
    mine, theirs = (s.tenant("default").keyvalues for s in (store, other_store))
    revisions: list[int] = []

    async def write() -> None:
        for n in range(25):
            revisions.append((await mine.put("k", n)).revision)
            await mine.delete("k")

    async def purge() -> None:
        while not writing.done():
            await theirs.purge(older_than_s=-1)

    writing = asyncio.ensure_future(write())
    await asyncio.gather(writing, purge())
    assert revisions == sorted(set(revisions))


# --- watching -----------------------------------------------------------------------------------------------------


async def collect(watch, count: int) -> list[Entry]:
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]


async def test_watch_gives_what_is_there_then_what_changes(keyvalues):
    await keyvalues.put("a/1", 1)
    await keyvalues.put("a/2", 2)
    await keyvalues.delete("a/2")
    await keyvalues.put("b/1", 1)
    async with keyvalues.watch("a/") as watch:
        assert [e.key for e in await collect(watch, 1)] == ["a/1"]
        await keyvalues.put("b/2", 0)
        await keyvalues.put("a/3", 3)
        assert [(e.key, e.value) for e in await collect(watch, 1)] == [("a/3", 3)]
        await keyvalues.delete("a/1")
        (gone,) = await collect(watch, 1)
        assert (gone.key, gone.deleted, gone.value) == ("a/1", True, None)


async def test_watch_sees_what_another_process_writes(store, other_store):
    async with store.tenant("default").keyvalues.watch() as watch:
        waiting = asyncio.ensure_future(collect(watch, 1))
        entry = await other_store.tenant("default").keyvalues.put("k", "from afar")
        assert await waiting == [entry]


async def test_watch_may_skip_states_but_not_the_last(store, other_store):
    writers = [s.tenant("default").keyvalues for s in (store, other_store)]
    last: dict[str, Entry] = {}

    async def write(keyvalues: KeyValues, key: str) -> None:
        for n in range(40):
            last[key] = await keyvalues.put(key, n)

    async with writers[0].watch("k") as watch, asyncio.timeout(20):
        writing = asyncio.gather(*(write(kv, f"k{n}") for n, kv in enumerate(writers)))
        seen: dict[str, Entry] = {}
        while {key: entry.value for key, entry in seen.items()} != {"k0": 39, "k1": 39}:
            entry = await anext(watch)
            assert entry.revision > (seen[entry.key].revision if entry.key in seen else 0)
            seen[entry.key] = entry
        await writing
    assert seen == last


async def test_watch_tells_of_expiry_and_of_purged_deletions(keyvalues, clock):
    await keyvalues.put("short", 1, ttl_s=5)
    await keyvalues.put("long", 1)
    async with keyvalues.watch() as watch:
        assert {e.key for e in await collect(watch, 2)} == {"short", "long"}
        clock.now += 6
        (gone,) = await collect(watch, 1)
        assert (gone.key, gone.deleted) == ("short", True)
        await keyvalues.delete("long")
        await keyvalues.purge(older_than_s=-1)
        (purged,) = await collect(watch, 1)
        assert (purged.key, purged.deleted) == ("long", True)


async def test_watch_ends_when_it_is_closed_and_when_the_store_is(store):
    keyvalues = store.tenant("default").keyvalues
    closed, open_ = keyvalues.watch(), keyvalues.watch()
    waiting = [asyncio.ensure_future(anext(watch, None)) for watch in (closed, open_)]
    await keyvalues.get("settle")
    await closed.aclose()
    await closed.aclose()
    async with asyncio.timeout(5):
        assert await waiting[0] is None
        await store.aclose()
        assert await waiting[1] is None
    assert await anext(open_, None) is None


async def test_a_cancelled_watcher_misses_nothing(keyvalues):
    async with keyvalues.watch() as watch:
        for n in range(10):
            waiting = asyncio.ensure_future(anext(watch))
            for _ in range(n):
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                await waiting
            except asyncio.CancelledError:
                pass
            entry = await keyvalues.put(f"k{n}", n)
            async with asyncio.timeout(5):
                assert await anext(watch) == entry
