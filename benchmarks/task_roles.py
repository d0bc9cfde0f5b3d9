"""Processes of the benchmarks, each its own: ``python -m benchmarks.task_roles ROLE URL DIRECTORY``.

A role prints ``ready`` and runs until its standard input closes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import nats
import structlog
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

TENANT = "bench"
RAW_ECHO = "raw.echo"


async def hub(url: str, directory: Path) -> None:
    from hub.app import Hub
    from hub.config import HubSettings

    async with Hub(HubSettings(nats_url=url, tenants=(TENANT,), home=directory, gateway=False)):
        await _until_closed()


async def node(url: str, directory: Path) -> None:
    from box_agent.config import AgentSettings
    from box_agent.node.config import NodeSettings
    from box_agent.node.service import Node

    async with Node(NodeSettings(name="bench", home=directory / "node"), AgentSettings(nats_url=url, tenant=TENANT)):
        await _until_closed()


async def raw_echo(url: str, directory: Path) -> None:
    """Answers requests with what a node has on the wire, and does nothing for it."""
    from benchmarks.load import body_of
    from schemas import envelope as envelopes

    client = await nats.connect(url)
    answer = body_of(envelopes.RESULT)

    async def respond(message: Msg) -> None:
        await message.respond(answer)

    await client.subscribe(RAW_ECHO, cb=respond)
    await client.flush()
    await _until_closed()
    await client.close()


async def worker(url: str, directory: Path) -> None:
    from box_agent.agent import Agent
    from box_agent.config import AgentSettings

    settings = AgentSettings(attempts=256)
    async with await Agent.open("worker", url=url, tenant=TENANT, settings=settings) as agent:

        @agent.skill
        async def nothing() -> None:
            """Does nothing."""

        await _until_closed()


async def raw_worker(url: str, directory: Path) -> None:
    """A work queue as one writes it with bare nats-py: take, work, store the result, acknowledge."""
    client = await nats.connect(url)
    stream = client.jetstream()
    async with asyncio.TaskGroup() as group:

        async def take(message: Msg) -> None:
            group.create_task(one(message))  # callbacks are serial per subscription

        async def one(message: Msg) -> None:
            task = message.subject.rsplit(".", 1)[1]
            await stream.publish(f"raw.results.{task}", message.data, headers={"Nats-Msg-Id": task})
            await message.ack()

        # A push consumer: nats-py's fetch() stalls after a fetch that found nothing.
        await stream.subscribe(
            "raw.tasks.>", queue="workers", durable="workers", stream="RAW_TASKS", cb=take, manual_ack=True,
            config=ConsumerConfig(max_ack_pending=4096),
        )  # fmt: skip
        await _until_closed()
    await client.close()


async def _until_closed() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


ROLES = {"hub": hub, "node": node, "worker": worker, "raw-worker": raw_worker, "raw-echo": raw_echo}

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2], Path(sys.argv[3])))
