"""What takes all it can get harms only itself: its caller is told which limit it met, a neighbour goes on answering."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from box_agent.driver import Handle
from box_agent.drivers.forking import link
from schemas.errors import DeadlineExceeded, LimitExceeded
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import ask
from tests.faults.box.conftest import Shop
from tests.faults.box.hogs import Hog

SMALL: dict[str, int] = {"memory_bytes": 100_000_000, "pids": 60, "disk_bytes": 4_000_000}
BOUND_S = 2.5
"""Within which a neighbour answers, on a machine that is busy with tests. Alone it takes a millisecond or two."""

BY_LIMIT = {
    "fork": "pids",
    "hoard": "memory_bytes",
    "hoard_in_children": "memory_bytes",
    "write_a_large_file": "disk_bytes",
    "write_many_files": "disk_bytes",
    "write_empty_files": "disk_bytes",
    "open_files": "open_files",
}
LOCAL_ONLY = {"start_threads": "pids", "fill_scratch": "disk_bytes"}
"""A plain process has the machine's own ``/tmp`` by convention only, and nobody counts its threads."""
GOES_ON = ("hoard", "open_files")
"""The call ends of it, the box does not."""
ENDLESS = ("spin", "flood_log", "flood_output", "flood_the_socket", "ask_without_end")
"""Against these there is the caller's deadline; the box's own ``wall_s`` is the node's."""


async def worst_s(neighbour: Handle, call: asyncio.Future[Any]) -> float:
    """The longest that a neighbour took to answer until ``call`` ended."""
    worst = 0.0
    while not call.done():
        began = time.monotonic()
        assert await neighbour.call(ask("add", 1, 2)) == 3
        worst = max(worst, time.monotonic() - began)
        await asyncio.wait({call}, timeout=0.02)
    return worst


@pytest.mark.parametrize("skill", sorted(BY_LIMIT | LOCAL_ONLY))
async def test_the_caller_is_told_which_limit(shop: Shop, skill: str) -> None:
    if skill in LOCAL_ONLY and shop.name != "local":
        pytest.skip(f"the {shop.name} driver has no such limit")
    neighbour = await shop.spawn(Workshop)
    limit = (BY_LIMIT | LOCAL_ONLY)[skill]
    box = await shop.spawn(Hog().limit(**{name: value for name, value in SMALL.items() if name == limit}))
    call = asyncio.ensure_future(box.call(ask(skill)))
    worst = await worst_s(neighbour, call)
    with pytest.raises(LimitExceeded) as met:
        await call
    assert met.value.details["limit"] == limit
    if skill in GOES_ON:
        assert await box.call(ask("alive"))
    assert worst < BOUND_S


@pytest.mark.parametrize("skill", ENDLESS)
async def test_what_has_no_end_is_ended_by_its_callers_deadline(shop: Shop, skill: str) -> None:
    if shop.name != "local":
        pytest.skip("what bounds a flood is the same code for every driver that forks")
    neighbour = await shop.spawn(Workshop)
    box = await shop.spawn(Hog().limit(**SMALL))
    began = time.monotonic()
    call = asyncio.ensure_future(box.call(ask(skill, timeout_s=0.5)))
    worst = await worst_s(neighbour, call)
    with pytest.raises(DeadlineExceeded):
        await call
    await box.stop(0)
    assert worst < BOUND_S
    heard = len(shop.heard.emitted) + len(shop.heard.requests)
    # it is counted by whole reads, of thousands of small frames each, and by seconds of the clock
    assert heard < 2.5 * link._UNASKED_S * (1 + time.monotonic() - began), "no more is read of a box than is bearable"
