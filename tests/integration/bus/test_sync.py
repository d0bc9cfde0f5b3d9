"""The sync API: in scripts, threads, notebooks and forks."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import box_agent
from box_agent.bus.received import Message
from schemas.errors import BoxNotFound
from tests.integration.bus.agents import settings
from tests.servers.nats import NatsServer

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def pair(shared_nats_server: NatsServer, tenant: str) -> Iterator[tuple[box_agent.Agent, box_agent.Agent]]:
    with (
        box_agent.connect("planner", url=shared_nats_server.url, tenant=tenant, settings=settings()) as planner,
        box_agent.connect("coder", url=shared_nats_server.url, tenant=tenant, settings=settings()) as coder,
    ):
        yield planner, coder


Pair = tuple[box_agent.Agent, box_agent.Agent]


def test_every_verb(pair: Pair) -> None:
    planner, coder = pair
    got: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()

    @coder.skill
    def double(n: int) -> int:
        return 2 * n

    @coder.skill(name="count")
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    coder.on_message(lambda m: got.put((m.sender, m.data)))
    coder.on_event("order.*", lambda e: got.put((e.name, e.data)))
    coder.on_signal("s", lambda s: got.put(("signal", s.data)))
    planner.send_message(coder, "hello")
    assert got.get(timeout=10) == ("planner", "hello")
    assert planner.publish_event("order.paid", 1) > 0
    assert got.get(timeout=10) == ("order.paid", 1)
    planner.publish_signal("s", 2)
    assert got.get(timeout=10) == ("signal", 2)
    assert planner.call("coder", "double", 21) == 42
    assert list(planner.stream(coder, "count", 100)) == list(range(100))
    for number in planner.stream(coder, "count", 1_000_000):
        if number == 3:
            break
    assert planner.dead_letters() == []
    with pytest.raises(BoxNotFound):
        planner.call("nobody", "x")


def test_a_handler_may_call_sync_verbs(pair: Pair) -> None:
    planner, coder = pair
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    @planner.skill
    def double(n: int) -> int:
        return 2 * n

    def handler(message: Message) -> None:
        coder.send_message(message.reply_to, coder.call("planner", "double", message.data))

    coder.on_message(handler)
    planner.on_message(lambda m: answers.put(m.data))
    planner.send_message("coder", 4)
    assert answers.get(timeout=10) == 8


def test_async_handlers_work_too(pair: Pair) -> None:
    planner, coder = pair
    got: queue.SimpleQueue[object] = queue.SimpleQueue()

    async def handler(message: Message) -> None:
        got.put(message.data)

    coder.on_message(handler)
    planner.send_message("coder", 1)
    assert got.get(timeout=10) == 1


def test_the_inbox_is_an_iterator(pair: Pair) -> None:
    planner, coder = pair
    for number in range(3):
        planner.send_message("coder", number)
    got = []
    for message in coder.inbox():
        got.append(message.data)
        if len(got) == 3:
            break
    assert got == [0, 1, 2]


def test_closing_a_subscription(pair: Pair) -> None:
    planner, coder = pair
    got: queue.SimpleQueue[object] = queue.SimpleQueue()
    subscription = coder.on_message(lambda m: got.put(m.data))
    subscription.close()
    subscription.close()
    planner.send_message("coder", 1)
    coder.on_message(lambda m: got.put(("later", m.data)))
    assert got.get(timeout=10) == ("later", 1)


def test_many_threads_at_once(pair: Pair) -> None:
    planner, coder = pair
    results: queue.SimpleQueue[int] = queue.SimpleQueue()

    @coder.skill
    async def double(n: int) -> int:
        return 2 * n

    threads = [threading.Thread(target=lambda n=n: results.put(planner.call("coder", "double", n))) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results.get_nowait() for _ in range(32)) == [2 * n for n in range(32)]


async def test_it_works_where_a_loop_runs_already(shared_nats_server: NatsServer, tenant: str) -> None:
    """As in a notebook's cell."""
    with box_agent.connect("cell", url=shared_nats_server.url, tenant=tenant, settings=settings()) as cell:
        assert cell.send_message("cell", 1)
        for message in cell.inbox():
            assert message.data == 1
            break


def test_a_blocking_verb_on_the_loop_is_refused(pair: Pair) -> None:
    planner, coder = pair
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def handler(message: Message) -> None:
        try:
            coder.send_message("planner", 1)
        except RuntimeError as error:
            said.put(str(error))

    coder.on_message(handler)
    planner.send_message("coder", 1)
    assert "box_agent.aio" in said.get(timeout=10)


def script(code: str, url: str, tenant: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "BOXHUB_NATS_URL": url, "BOXHUB_TENANT": tenant}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_script_that_closes_nothing_says_goodbye_and_ends(pair: Pair, tenant: str) -> None:
    planner, _ = pair
    byes: queue.SimpleQueue[object] = queue.SimpleQueue()
    planner.on_signal("presence.goodbye", lambda s: byes.put(s.sender))
    code = """
        import box_agent
        agent = box_agent.connect("short")
        agent.on_message(print)
        agent.send_message("short", "hello")
        print(f"tenant {agent.tenant}")
    """
    process = script(code, planner.aio.connection._url, tenant)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert f"tenant {tenant}" in out
    assert err == ""
    assert byes.get(timeout=10) == "short"


def test_ctrl_c_interrupts_a_blocked_verb(pair: Pair, tenant: str) -> None:
    planner, coder = pair
    begun, cancelled = threading.Event(), threading.Event()

    @coder.skill
    async def forever() -> None:
        import asyncio

        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    code = """
        import box_agent
        agent = box_agent.connect("script")
        try:
            agent.call("coder", "forever", timeout_s=60)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    process = script(code, planner.aio.connection._url, tenant)
    assert begun.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert out == "interrupted\n", err
    assert process.returncode == 0
    assert cancelled.wait(10)  # the call was cancelled where it ran


def test_a_forked_child_gets_a_loop_of_its_own(pair: Pair, tenant: str) -> None:
    planner, coder = pair

    @coder.skill
    async def double(n: int) -> int:
        return 2 * n

    code = """
        import os, sys, box_agent
        parent = box_agent.sync.agent_for("parent")
        print(parent.call("coder", "double", 1), flush=True)
        if os.fork() == 0:
            child = box_agent.sync.agent_for("child")
            print(child.call("coder", "double", 2), flush=True)
            child.close()
            os._exit(0)
        _, status = os.wait()
        assert status == 0, status
        print(parent.call("coder", "double", 3))
        assert box_agent.sync.agent_for("parent") is parent
    """
    process = script(code, planner.aio.connection._url, tenant)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert out.split() == ["2", "4", "6"]
