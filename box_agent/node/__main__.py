"""``python -m box_agent.node [--name NAME] [--home DIRECTORY] [--nats-url URL]``: a node until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Any

import structlog
from pydantic import ValidationError

from box_agent.config import AgentSettings
from box_agent.node.config import NodeSettings
from box_agent.node.service import Node
from schemas.errors import BoxhubError

_log = structlog.get_logger("boxhub.node")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m box_agent.node", description="Run boxes on this machine.")
    parser.add_argument("--name", help="of this node; default: the machine's")
    parser.add_argument("--home", help="directory of the node's files; default: node in BOXHUB_HOME")
    parser.add_argument("--nats-url", help="where the bus is; default: BOXHUB_NATS_URL, or the hub on this machine")
    given = parser.parse_args(arguments)
    try:
        settings = NodeSettings(**_given(name=given.name, home=given.home))
        agent_settings = AgentSettings(**_given(nats_url=given.nats_url))
    except ValidationError as error:
        for wrong in error.errors():
            print(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", file=sys.stderr)
        return 2
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    try:
        asyncio.run(run(settings, agent_settings))
    except BoxhubError as error:
        _log.error("node_failed", code=error.code, error=str(error))
        return 1
    return 0


async def run(settings: NodeSettings, agent_settings: AgentSettings) -> None:
    """A second signal cuts the orderly end short."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    signalled: list[int] = []

    def arrived(number: int) -> None:
        signalled.append(number)
        this.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, arrived, number)
    try:
        async with Node(settings, agent_settings):
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not signalled:
            raise
    _log.info("node_stopped", node=settings.name)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
