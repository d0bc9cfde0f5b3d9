"""Feeds: bounded, told when something was missed."""

from __future__ import annotations

import asyncio

from hub.registry.changes import MISSED, Changes
from hub.registry.presence import Change
from schemas.box import LiveBox


def change(id: str) -> Change:
    return Change("box", box=LiveBox(id=id))


async def test_every_reader_gets_every_change_in_order() -> None:
    changes = Changes(10)
    with changes.feed() as one, changes.feed() as two:
        changes.announce([change("a"), change("b")])
        changes.close()
        for feed in (one, two):
            assert [c async for c in feed] == [change("a"), change("b")]


async def test_a_reader_takes_what_waits_and_then_what_comes() -> None:
    changes = Changes(10)
    with changes.feed() as feed:
        changes.announce([change("a")])
        reader = aiter(feed)
        assert await anext(reader) == change("a")

        async def take() -> Change | None:
            return await anext(reader)

        async with asyncio.TaskGroup() as group, asyncio.timeout(5):
            waiting = group.create_task(take())
            await asyncio.sleep(0)
            changes.announce([change("b")])
        assert waiting.result() == change("b")


async def test_a_slow_reader_is_told_that_it_missed_something() -> None:
    changes = Changes(3)
    with changes.feed() as feed:
        changes.announce([change(str(n)) for n in range(10)])
        reader = aiter(feed)
        assert await anext(reader) is MISSED
        last = None
        while feed._waiting:
            last = await anext(reader)
        assert last == change("9")


async def test_closing_ends_the_iteration() -> None:
    changes = Changes(3)
    feed = changes.feed()
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):

        async def read() -> list[Change | None]:
            return [c async for c in feed]

        reading = group.create_task(read())
        await asyncio.sleep(0)
        changes.close()
    assert reading.result() == []  # nothing was announced
    changes.announce([change("a")])
    assert not feed._waiting


def test_callbacks_are_called_until_they_unsubscribe() -> None:
    changes = Changes(3)
    seen: list[Change] = []
    stop = changes.subscribe(seen.append)
    changes.announce([change("a")])
    stop()
    stop()
    changes.announce([change("b")])
    assert seen == [change("a")]
