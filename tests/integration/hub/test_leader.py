"""Leases on a real nats-server: one leader at a time, whatever happens to it or to the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from box_agent.bus.connection import Connection
from box_agent.config import AgentSettings
from hub.leader import Leases, Work
from tests.servers.nats import NatsServer

TTL_S = 1.2


@asynccontextmanager
async def replica(server: NatsServer, name: str) -> AsyncIterator[Leases]:
    settings = AgentSettings(nats_url=server.url, connect_timeout_s=10)
    async with await Connection.open(server.url, name, settings) as connection:
        yield Leases(connection, name, ttl_s=TTL_S)


class Leading:
    """Work that notes who leads when; fails the test if two do at once."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.tokens: list[int] = []
        self.taken = asyncio.Event()
        self.left = asyncio.Event()

    def work(self, name: str) -> Work:
        async def lead(token: int) -> None:
            assert not self.now, f"{name} leads beside {self.now}"
            self.now.append(name)
            self.tokens.append(token)
            self.taken.set()
            self.left.clear()
            try:
                await asyncio.Event().wait()
            finally:
                self.now.remove(name)
                self.left.set()

        return lead

    async def next(self) -> str:
        async with asyncio.timeout(15):
            await self.taken.wait()
        self.taken.clear()
        return self.now[0]


async def test_one_leads_and_a_release_hands_over_at_once(nats_server: NatsServer) -> None:
    leading = Leading()
    async with replica(nats_server, "a") as a, replica(nats_server, "b") as b, asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(leases.lead("work", leading.work(name))) for name, leases in (("a", a), ("b", b))
        }
        first = await leading.next()
        started = asyncio.get_running_loop().time()
        tasks[first].cancel()
        second = await leading.next()
        assert second != first
        assert asyncio.get_running_loop().time() - started < TTL_S
        assert leading.tokens == sorted(set(leading.tokens))
        tasks[second].cancel()


async def test_a_holder_that_is_cut_off_stops_before_another_begins(nats_server: NatsServer) -> None:
    """Paused server: the holder cannot renew and must stop by itself, at half the time to live."""
    leading = Leading()
    async with replica(nats_server, "a") as a, asyncio.TaskGroup() as group:
        task = group.create_task(a.lead("work", leading.work("a")))
        await leading.next()
        nats_server.pause()
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            await leading.left.wait()
        assert asyncio.get_running_loop().time() - started <= TTL_S / 2 + 0.3
        nats_server.resume()
        assert await leading.next() == "a"
        assert leading.tokens[1] > leading.tokens[0]
        task.cancel()


async def test_leases_survive_a_killed_server(nats_server: NatsServer) -> None:
    leading = Leading()
    async with replica(nats_server, "a") as a, replica(nats_server, "b") as b, asyncio.TaskGroup() as group:
        tasks = [group.create_task(leases.lead("work", leading.work(n))) for n, leases in (("a", a), ("b", b))]
        await leading.next()
        await nats_server.restart()
        while not leading.now:
            leading.taken.clear()
            await leading.next()
        assert len(leading.now) == 1
        for task in tasks:
            task.cancel()


async def test_the_same_name_takes_its_lease_back_at_once(nats_server: NatsServer) -> None:
    """A hub that was killed and comes back under its name does not wait for its own lease to expire."""
    async with replica(nats_server, "hub-local") as first:
        held = await first._acquire("work")
    leading = Leading()
    async with replica(nats_server, "hub-local") as second, asyncio.TaskGroup() as group:
        started = asyncio.get_running_loop().time()
        task = group.create_task(second.lead("work", leading.work("hub-local")))
        await leading.next()
        assert asyncio.get_running_loop().time() - started < TTL_S / 2
        assert leading.tokens[0] > held.revision
        task.cancel()


async def test_a_dead_holders_lease_expires(nats_server: NatsServer) -> None:
    async with replica(nats_server, "dead") as dead:
        held = await dead._acquire("work")
    leading = Leading()
    async with replica(nats_server, "b") as b, asyncio.TaskGroup() as group:
        task = group.create_task(b.lead("work", leading.work("b")))
        assert await leading.next() == "b"
        assert asyncio.get_running_loop().time() - held.sent_at >= TTL_S
        assert leading.tokens[0] > held.revision
        task.cancel()


async def test_work_that_fails_gives_the_lease_back(nats_server: NatsServer) -> None:
    async def fail(token: int) -> None:
        raise ZeroDivisionError

    async with replica(nats_server, "a") as a:
        with pytest.RaisesGroup(ZeroDivisionError):
            await a.lead("work", fail)
        lease = await a.read("work")
        assert lease is not None
        assert lease.holder == ""
        assert a.held == {}
