"""A hub and two nodes as processes, each with a directory of its own; they share the bus and nothing else."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from box_agent.agent import Agent
from hub.app import Hub
from hub.config import HubSettings
from schemas.errors import BoxhubError
from tests.integration.node.boxes import Workshop
from tests.integration.node.conftest import agent_settings
from tests.servers.nats import NatsServer

pytestmark = [pytest.mark.nats_versions("current"), pytest.mark.timeout(90)]

LARGE = 48 * 1024 * 1024


@asynccontextmanager
async def process(module: str, url: str, tenant: str, home: Path, **environment: str) -> AsyncIterator[Any]:
    variables = {"BOXHUB_NATS_URL": url, "BOXHUB_TENANT": tenant, "BOXHUB_TENANTS": tenant, "BOXHUB_HOME": str(home)}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=os.environ | variables | environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.terminate()
        async with asyncio.timeout(20):
            await started.wait()


def hub(server: NatsServer, tenant: str, home: Path) -> Any:
    return process("hub.app", server.url, tenant, home, BOXHUB_BLOBS_URL="jetstream:", BOXHUB_GATEWAY="false")


def node(server: NatsServer, tenant: str, home: Path, name: str) -> Any:
    variables = {"NAME": name, "DRIVERS": '["process"]', "BEAT_S": "0.2", "STOP_GRACE_S": "0.5"}
    return process(
        "box_agent.node", server.url, tenant, home, **{f"BOXHUB_NODE_{key}": value for key, value in variables.items()}
    )


@pytest.fixture
async def planner(shared_nats_server: NatsServer, tenant: str) -> AsyncIterator[Agent]:
    settings = agent_settings(shared_nats_server.url, tenant)
    async with await Agent.open("planner", url=shared_nats_server.url, tenant=tenant, settings=settings) as agent:
        yield agent


async def patiently(attempt: Any) -> Any:
    """Until the processes that it needs are there."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await attempt()
            except BoxhubError as error:
                if not error.retryable and error.code != "box_not_found":
                    raise
            await asyncio.sleep(0.05)


async def test_a_branch_made_on_one_node_continues_on_another(
    shared_nats_server: NatsServer, tenant: str, planner: Agent, tmp_path: Path
) -> None:
    async with hub(shared_nats_server, tenant, tmp_path / "hub"):
        workspace = await patiently(lambda: planner.workspaces.create("fruit"))
        [branch] = await planner.workspaces.fork(workspace.root, files={"a.txt": "apple", "deep/b.txt": "banana"})
        async with node(shared_nats_server, tenant, tmp_path / "a", "a"):
            live = await patiently(lambda: planner.spawn(Workshop, branch=branch.id))
            await live.write("a.txt", "apricot")
            await live.write("deep/c.txt", "cherry" * 500_000)  # several pieces
            await live.stop()
    # The first node is gone, and so is the hub with all blobs that were in its directory: another machine's takes over.
    (tmp_path / "hub" / "blob-cache").rename(tmp_path / "lost")
    async with (
        hub(shared_nats_server, tenant, tmp_path / "hub"),
        node(shared_nats_server, tenant, tmp_path / "b", "b"),
    ):
        live = await patiently(lambda: planner.spawn(Workshop, branch=branch.id))
        assert (await live.info()).node == "b"
        assert await live.read("a.txt") == "apricot"
        assert await live.read("deep/b.txt") == "banana"
        assert await live.read("deep/c.txt") == "cherry" * 500_000
        await live.stop()


async def test_a_node_that_was_killed_while_it_fetched_goes_on_where_it_was(
    shared_nats_server: NatsServer, tenant: str, planner: Agent, tmp_path: Path
) -> None:
    large, small = random.Random(1).randbytes(LARGE), b"small"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_bytes(large)
    (tmp_path / "files" / "small").write_bytes(small)
    here, kept = tmp_path / "b", tmp_path / "kept"
    settings = HubSettings(
        nats_url=shared_nats_server.url, tenants=(tenant,), home=tmp_path / "hub", gateway=False, heartbeat_s=0.2,
        silent_s=3.0, blobs_url="jetstream:",
    )  # fmt: skip
    async with Hub(settings):
        workspace = await planner.workspaces.import_directory(tmp_path / "files", "files")
        async with node(shared_nats_server, tenant, here, "b") as first:
            spawning = asyncio.ensure_future(patiently(lambda: planner.spawn(Workshop, branch=workspace.root)))
            part = await part_of(here)
            first.kill()
            await first.wait()
            spawning.cancel()
            await asyncio.wait([spawning])
        os.link(part, kept)  # so that no other file becomes the same
        arrived = kept.stat().st_size
        assert 0 < arrived < LARGE
        async with node(shared_nats_server, tenant, here, "b"):
            live = await patiently(lambda: planner.spawn(Workshop, branch=workspace.root))
            assert await live.read("small") == "small"
            whole = [path for path in (here / "node" / "blobs").glob("??/*") if path.samefile(kept)]
            assert len(whole) == 1 and not whole[0].name.startswith("."), "what had arrived was kept, and became it"
            assert kept.read_bytes() == large
            (laid,) = (here / "node").glob("boxes/**/large")
            assert laid.read_bytes() == large
            await live.stop()


async def part_of(home: Path) -> Path:
    """The large file on its way, when some of it has arrived."""
    async with asyncio.timeout(30):
        while True:
            for path in (home / "node" / "blobs").glob("??/.part-*"):
                if path.stat().st_size > 0:
                    return path
            await asyncio.sleep(0.002)
