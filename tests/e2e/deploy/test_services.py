"""The files in ``deploy/`` as they are: the same programs with the same environment, on other ports and paths."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from box_agent import aio
from box_agent.config import AgentSettings
from tests.e2e.running import ROOT
from tests.servers.nats import NatsBinary

DEPLOY = ROOT / "deploy"


def _environment(part: str) -> dict[str, str]:
    lines = (DEPLOY / f"{part}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _module(part: str) -> str:
    found = re.search(r"^ExecStart=\S+/python -m (\S+)$", (DEPLOY / f"boxhub-{part}.service").read_text(), re.MULTILINE)
    assert found
    return found.group(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _service(*command: str | Path, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={"PATH": os.environ["PATH"], **env}, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() in (0, 1), command  # nats-server ends with 1 on SIGTERM
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(30):
        while True:
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.nats_versions("oldest")
async def test_the_three_services_work_together(nats_binary: NatsBinary, tmp_path: Path) -> None:
    bus, gateway = _free_port(), _free_port()
    hub_env, node_env, nats_env = _environment("hub"), _environment("node"), _environment("nats")
    assert nats_env["BOXHUB_NATS_PASSWORD"] in hub_env["BOXHUB_NATS_URL"]
    nats_env |= {"BOXHUB_NATS_LISTEN": f"127.0.0.1:{bus}", "BOXHUB_NATS_STORE": str(tmp_path / "nats")}
    url = hub_env["BOXHUB_NATS_URL"].replace(":4222", f":{bus}")
    here = {"BOXHUB_HOME": str(tmp_path / "home"), "BOXHUB_NATS_URL": url}
    async with AsyncExitStack() as services:
        await services.enter_async_context(
            _service(nats_binary.path, "--config", DEPLOY / "nats-server.conf", env=nats_env)
        )
        for part, env in (("hub", hub_env | {"BOXHUB_GATEWAY_PORT": str(gateway)}), ("node", node_env)):
            await services.enter_async_context(_service(sys.executable, "-m", _module(part), env=env | here))
        await _ready(f"http://127.0.0.1:{gateway}")
        settings = AgentSettings(nats_url=url)
        agent = await services.enter_async_context(aio.connect("planner", url=url, settings=settings))
        async with asyncio.timeout(30):
            while not (nodes := await agent.boxes.nodes()):  # noqa: ASYNC110 - asked as a client would
                await asyncio.sleep(0.1)
        assert [node.name for node in nodes] == [node_env["BOXHUB_NODE_NAME"]]
        assert [node.max_boxes for node in nodes] == [int(node_env["BOXHUB_NODE_MAX_BOXES"])]
    assert (tmp_path / "home" / "token").stat().st_mode & 0o077 == 0
