"""A Box's code notices its fork as it would notice any; its keeper, which is one too, does not run it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading

import pytest

from box_agent import Box, skill
from schemas.errors import BoxDied
from tests.conformance.box.boxes import Workshop
from tests.conformance.box.conftest import ask
from tests.faults.box.conftest import Shop


class Forked(Box):
    def setup(self) -> None:
        self.ran: list[str] = []
        os.register_at_fork(
            before=lambda: self.ran.append("before"),
            after_in_child=lambda: self.ran.append("child"),
            after_in_parent=lambda: self.ran.append("parent"),
        )
        signal.signal(signal.SIGALRM, lambda number, frame: os._exit(1))

    @skill
    def handlers(self) -> list[str]:
        return self.ran

    @skill
    def libraries(self) -> bool:
        """Locks and threads of the standard library work."""
        said: list[bool] = []
        thread = threading.Thread(target=lambda: said.append(True))
        thread.start()
        thread.join()
        logging.getLogger("box").warning("hello")
        return said == [True] and threading.get_native_id() == os.getpid()


async def test_handlers_of_forks_run_once_in_each_worker(shop: Shop) -> None:
    for _ in range(2):
        box = await shop.spawn(Forked)
        assert await box.call(ask("handlers")) == ["before", "child"]
        assert await box.call(ask("libraries")) is True


async def test_a_keeper_runs_no_handler_of_its_box(shop: Shop) -> None:
    box = await shop.spawn(Forked)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(shop.keeper_pid(box.pid), number)
    assert await box.call(ask("libraries")) is True
    assert (await box.stop(0)).asked


async def test_a_box_that_ends_at_once_is_told_of_by_its_keeper(shop: Shop) -> None:
    """Also when the worker has ended before the keeper could follow it; of two dozen at once, some do."""

    async def one() -> None:
        box = await shop.spawn(Workshop)
        with pytest.raises(BoxDied) as died:
            await box.call(ask("exit_at_once", 7))
        assert died.value.details["exit_code"] == 7

    for _ in range(4):
        await asyncio.gather(*(one() for _ in range(24)))
