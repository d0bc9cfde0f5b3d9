"""What the benchmarks of the bus share: a server each, agents, load, rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from benchmarks.harness import Row, row
from benchmarks.servers import nats_server
from box_agent import aio
from schemas import envelope as envelopes
from schemas import subjects

RAW: Final = "nats-py"
PAYLOAD: Final = "x" * 64
TENANT: Final = "bench"


def in_server(measure: Callable[[str], Awaitable[Sequence[Row]]]) -> Callable[[], Sequence[Row]]:
    """A benchmark function with a server and an event loop of its own."""

    def run() -> Sequence[Row]:
        async def main(url: str) -> Sequence[Row]:
            return await measure(url)

        with nats_server() as url:
            return asyncio.run(main(url))

    return run


def body_of(type: str) -> bytes:
    """The bytes our side puts on the wire, for the raw side to send."""
    return envelopes.encode(envelopes.make(type, subjects.source(TENANT, "sender"), {"text": PAYLOAD}))


def request_body() -> bytes:
    """A call of ``echo``, as our side has it on the wire."""
    data = {"args": [PAYLOAD], "kwargs": {}}
    source = subjects.source(TENANT, "sender")
    return envelopes.encode(envelopes.make(envelopes.CALL, source, data, timeoutms=30_000))


def agent_at(name: str, url: str) -> aio.Connecting:
    return aio.connect(name, url=url, tenant=TENANT)


async def in_parallel(one: Callable[[], Awaitable[None]], width: int, count: int) -> None:
    if width == 1:
        for _ in range(count):
            await one()
        return

    async def worker(share: int) -> None:
        for _ in range(share):
            await one()

    async with asyncio.TaskGroup() as group:
        for index in range(width):
            group.create_task(worker(count // width + (index < count % width)))


class Counter:
    """Counts to ``target`` and wakes who waits for it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._left = target
        self._done = asyncio.Event()

    def reset(self) -> None:
        self._left = self._target
        self._done.clear()

    def add(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set()

    async def done(self) -> None:
        async with asyncio.timeout(120):
            await self._done.wait()


def plain_row(
    name: str,
    ours: Sequence[float],
    raw: Sequence[float],
    *,
    unit: str,
    better: Any,
    demand: float | None,
    base: str = RAW,
    note: str = "",
) -> Row:
    return row(name, ours, raw, baseline_name=base, unit=unit, better=better, demand=demand, note=note)


def rate_row(name: str, measured: dict[str, list[float]], demand: float, unit: str = "msg/s") -> Row:
    return plain_row(name, measured["ours"], measured["raw"], unit=unit, better="higher", demand=demand)
