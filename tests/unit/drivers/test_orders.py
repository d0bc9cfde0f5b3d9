"""Orders to a template process that ends, or that nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from box_agent.drivers.forking.templates import TemplateGone, TemplateProcess, template_pair

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="templates are Linux processes")


class Standing:
    """A process that says hello, and nothing else, and what holds it."""

    def __init__(self) -> None:
        ours, self.theirs = template_pair()
        said = ["/bin/sh", "-c", """printf '{"hello": true}'; exec sleep 60"""]
        self.child = subprocess.Popen(said, stdout=self.theirs.fileno())
        self.process = TemplateProcess(ours)

    def end(self) -> None:
        """Now, and without the event loop having heard of it."""
        self.theirs.close()
        self.child.kill()
        self.child.wait()

    def answer(self, text: str, *fds: int) -> None:
        socket.send_fds(self.theirs, [text.encode()], list(fds))


@pytest.fixture
async def standing() -> AsyncIterator[Standing]:
    one = Standing()
    await one.process.hello(10)
    yield one
    one.end()
    await one.process.aclose()


@pytest.fixture
async def unheard() -> list[dict[str, Any]]:
    """What the event loop had to complain of."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    return said


async def test_an_order_to_one_that_has_just_ended_is_told_so_once(
    standing: Standing, unheard: list[dict[str, Any]]
) -> None:
    standing.end()
    with pytest.raises(TemplateGone):
        await standing.process.order({"op": "spawn"}, (), 10)
    gc.collect()
    assert unheard == []


async def test_descriptors_that_nobody_takes_are_closed(standing: Standing) -> None:
    standing.process.lends = True
    read, write = os.pipe2(os.O_NONBLOCK)
    order = asyncio.ensure_future(standing.process.order({"op": "lend"}, (), 10))
    await asyncio.sleep(0)
    standing.answer('{"n": 1}', write)
    os.close(write)
    standing.process._on_readable()
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    assert os.read(read, 1) == b"", "nobody holds the other end"
    os.close(read)
