"""A receiver in a process of its own: prints what its handler begins and ends with, one JSON line each.

usage: python receiver.py URL TENANT NAME ACK_WAIT_S KIND [DIE_ON]

``DIE_ON``: a message with that data kills the process in its handler. A message with data ``"hang"`` never returns.
``KIND`` "skill": its skill ``work`` never returns.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from box_agent import aio
from tests.integration.bus.agents import settings


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


async def main() -> None:
    url, tenant, name, ack_wait_s, kind, *rest = sys.argv[1:]
    die_on = rest[0] if rest else None

    async def handler(received: Any) -> None:
        about = {"data": received.data, "deliveries": received.deliveries, "redelivered": received.redelivered}
        say(begun=about, sender=received.sender)
        if die_on is not None and str(received.data) == die_on:
            os.kill(os.getpid(), signal.SIGKILL)
        if received.data == "hang":
            await asyncio.Event().wait()
        say(ended=received.data, sender=received.sender)

    chosen = settings(ack_wait_s=float(ack_wait_s), prefetch=16)
    async with aio.connect(name, url=url, tenant=tenant, settings=chosen) as agent:
        if kind == "inbox":
            await agent.on_message(handler)
        elif kind == "skill":

            @agent.skill
            async def work(data: str) -> None:
                say(begun=data)
                await asyncio.Event().wait()

        else:
            await agent.on_event(kind, handler)
        say(ready=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
