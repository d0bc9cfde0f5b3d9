"""The bus against raw nats-py with the same wire bytes; FastStream beside it where it can do the same."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from benchmarks.harness import Benchmark, Row, interleave, row
from benchmarks.servers import nats_server
from box_agent import aio
from box_agent.bus.received import Event, Signal
from schemas import envelope as envelopes
from schemas import subjects

RAW = "nats-py"
PAYLOAD = "x" * 64
_TENANT = "bench"


def _in_server(measure: Callable[[str], Awaitable[Sequence[Row]]]) -> Callable[[], Sequence[Row]]:
    """A benchmark function with a server and an event loop of its own."""

    def run() -> Sequence[Row]:
        async def main(url: str) -> Sequence[Row]:
            return await measure(url)

        with nats_server() as url:
            return asyncio.run(main(url))

    return run


def _body(type: str) -> bytes:
    """The bytes our side puts on the wire, for the raw side to send."""
    return envelopes.encode(envelopes.make(type, subjects.source(_TENANT, "sender"), {"text": PAYLOAD}))


def _agent(name: str, url: str) -> aio.Connecting:
    return aio.connect(name, url=url, tenant=_TENANT)


# --- signals ---------------------------------------------------------------------------------------------------------


async def message_e2e(url: str, count: int = 20_000, runs: int = 9) -> Sequence[Row]:
    """One publisher, one subscriber, each with its connection: first publish to last handler."""
    raw_in, raw_out = await nats.connect(url), await nats.connect(url)
    body, subject = _body(envelopes.SIGNAL), subjects.signal(_TENANT, "sender", "raw")
    async with _agent("sender", url) as sender, _agent("receiver", url) as receiver:
        seen = _Counter(count)

        async def on_raw(message: Any) -> None:
            seen.add()

        async def on_signal(signal: Signal) -> None:
            seen.add()

        await raw_in.subscribe(subject, cb=on_raw)
        await raw_in.flush()
        await receiver.on_signal("ours", on_signal)

        async def raw() -> float:
            seen.reset()
            began = time.perf_counter()
            for _ in range(count):
                await raw_out.publish(subject, body)
            await seen.done()
            return count / (time.perf_counter() - began)

        async def ours() -> float:
            seen.reset()
            began = time.perf_counter()
            for _ in range(count):
                sender.publish_signal("ours", {"text": PAYLOAD})
            await seen.done()
            return count / (time.perf_counter() - began)

        measured = await interleave({"ours": ours, "raw": raw}, runs=runs)
    await raw_in.close()
    await raw_out.close()
    rows = [_rate("message_e2e", measured, 0.50)]
    return rows + await _faststream_e2e(url, measured["raw"], count=4_000)


async def _faststream_e2e(url: str, raw: Sequence[float], count: int) -> list[Row]:
    try:
        from faststream.nats import NatsBroker
    except ImportError:
        return []
    seen = _Counter(count)
    broker = NatsBroker(url, logger=None)

    @broker.subscriber("bench.faststream")
    async def on_message(message: dict[str, str]) -> None:
        seen.add()

    async with broker:
        await broker.start()
        rates = []
        for _ in range(3):
            seen.reset()
            began = time.perf_counter()
            for _ in range(count):
                await broker.publish({"text": PAYLOAD}, "bench.faststream")
            await seen.done()
            rates.append(count / (time.perf_counter() - began))
    ours = [statistics.median(rates)] * len(raw)
    return [
        _row("message_e2e_faststream", ours, raw, unit="msg/s", better="higher", demand=None, note="for comparison")
    ]


# --- durable publish -------------------------------------------------------------------------------------------------


async def durable_publish(url: str, name: str, at_once: int, count: int, runs: int, demand: float) -> Sequence[Row]:
    """Confirmed publishes, ``at_once`` under way."""
    raw_nc = await nats.connect(url)
    js = raw_nc.jetstream(timeout=30)
    body = _body(envelopes.EVENT)
    subject = subjects.event(_TENANT, "sender", "raw")
    async with _agent("sender", url) as sender:
        await sender.publish_event("ours")  # makes the stream
        serial = iter(range(10**9))

        async def raw_one() -> None:
            # the id as long as ours, told apart by its number
            await js.publish(subject, body, headers={"Nats-Msg-Id": f"sender/raw/e-{next(serial):018d}"})

        async def ours_one() -> None:
            await sender.publish_event("ours", {"text": PAYLOAD})

        async def timed(one: Callable[[], Awaitable[None]]) -> float:
            began = time.perf_counter()
            await _at_once(one, at_once, count)
            return count / (time.perf_counter() - began)

        measured = await interleave({"ours": lambda: timed(ours_one), "raw": lambda: timed(raw_one)}, runs=runs)
    await raw_nc.close()
    return [_rate(name, measured, demand)]


async def _at_once(one: Callable[[], Awaitable[None]], width: int, count: int) -> None:
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


# --- durable consume -------------------------------------------------------------------------------------------------


async def durable_consume(url: str, count: int = 5_000, runs: int = 7) -> Sequence[Row]:
    """Stored events handed to one handler and acknowledged, against ``fetch(256)`` and ``ack``."""
    raw_nc = await nats.connect(url)
    js = raw_nc.jetstream(timeout=30)
    async with _agent("sender", url) as sender:
        first = await sender.publish_event("stored", {"text": PAYLOAD})
        async with asyncio.TaskGroup() as group:
            for _ in range(count - 1):
                group.create_task(sender.publish_event("stored", {"text": PAYLOAD}))
        stream = subjects.stream_name(_TENANT, "event")
        serial = iter(range(10**9))

        async def raw() -> float:
            config = ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first, ack_policy=AckPolicy.EXPLICIT
            )
            name = f"raw{next(serial)}"
            subject = subjects.event_filter(_TENANT, "stored")
            pull = await js.pull_subscribe(subject, durable=name, stream=stream, config=config)
            left = count
            began = time.perf_counter()
            while left:
                for message in await pull.fetch(min(256, left), timeout=5):
                    await message.ack()
                    left -= 1
            took = time.perf_counter() - began
            await js.delete_consumer(stream, name)
            return count / took

        async def ours() -> float:
            seen = _Counter(count)

            async def on_event(event: Event) -> None:
                seen.add()

            async with _agent(f"reader{next(serial)}", url) as reader:
                began = time.perf_counter()
                subscription = await reader.on_event("stored", on_event, from_sequence=first)
                await seen.done()
                took = time.perf_counter() - began
                await subscription.aclose()
            return count / took

        measured = await interleave({"ours": ours, "raw": raw}, runs=runs)
    await raw_nc.close()
    return [_rate("durable_consume", measured, 0.75)]


# --- calls -----------------------------------------------------------------------------------------------------------


async def skill_call(url: str, name: str, at_once: int, count: int, runs: int, demand: float) -> Sequence[Row]:
    """Calls of a no-op skill: the median time of one, or calls per second with ``at_once`` under way."""
    raw_in, raw_out = await nats.connect(url), await nats.connect(url)
    request, answer = _request(), _body(envelopes.RESULT)
    subject = subjects.call(_TENANT, "raw", "sender", "echo")

    async def respond(message: Any) -> None:
        await message.respond(answer)

    await raw_in.subscribe(subject, queue="raw", cb=respond)
    await raw_in.flush()
    async with _agent("sender", url) as sender, _agent("server", url) as server:

        @server.skill
        async def echo(text: str) -> dict[str, str]:
            return {"text": text}

        async def raw_one() -> None:
            await raw_out.request(subject, request, timeout=30)

        async def ours_one() -> None:
            await sender.call("server", "echo", PAYLOAD)

        async def timed(one: Callable[[], Awaitable[None]]) -> float:
            if at_once > 1:
                began = time.perf_counter()
                await _at_once(one, at_once, count)
                return count / (time.perf_counter() - began)
            times = []
            for _ in range(count):
                began = time.perf_counter()
                await one()
                times.append(time.perf_counter() - began)
            return statistics.median(times)

        measured = await interleave({"ours": lambda: timed(ours_one), "raw": lambda: timed(raw_one)}, runs=runs)
    await raw_in.close()
    await raw_out.close()
    if at_once > 1:
        return [_rate(name, measured, demand, unit="calls/s")]
    return [_row(name, measured["ours"], measured["raw"], unit="s", better="lower", demand=demand)]


def _request() -> bytes:
    data = {"args": [PAYLOAD], "kwargs": {}}
    source = subjects.source(_TENANT, "sender")
    return envelopes.encode(envelopes.make(envelopes.CALL, source, data, timeoutms=30_000))


# --- fan-out ---------------------------------------------------------------------------------------------------------


async def fanout(url: str, width: int = 32, count: int = 200, runs: int = 7) -> Sequence[Row]:
    """One stored event, ``width`` durable subscribers in one process: deliveries handled and acked per second."""
    raw_nc = await nats.connect(url)
    js = raw_nc.jetstream(timeout=30)
    total = width * count
    async with _agent("sender", url) as sender, _agent("reader", url) as reader:
        await sender.publish_event("ours")
        seen = _Counter(total)

        async def on_event(event: Event) -> None:
            assert event.data["text"] == PAYLOAD
            seen.add()

        for _ in range(width):
            await reader.on_event("ours", on_event)
        stream = subjects.stream_name(_TENANT, "event")
        subject = subjects.event_filter(_TENANT, "raw")
        config = ConsumerConfig(deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.EXPLICIT)
        pulls = [
            await js.pull_subscribe(subject, durable=f"raw{index}", stream=stream, config=config)
            for index in range(width)
        ]

        async def read(pull: Any) -> None:
            while True:
                try:
                    messages = await pull.fetch(128, timeout=5)
                except nats.errors.TimeoutError:
                    continue
                for message in messages:
                    assert envelopes.decode(message.data).data["text"] == PAYLOAD
                    await message.ack()
                    seen.add()

        readers = [asyncio.create_task(read(pull)) for pull in pulls]

        async def timed(publish: Callable[[], Awaitable[Any]]) -> float:
            seen.reset()
            began = time.perf_counter()
            await _at_once(publish, 64, count)
            await seen.done()
            return total / (time.perf_counter() - began)

        body = _body(envelopes.EVENT)
        raw_subject = subjects.event(_TENANT, "sender", "raw")

        async def ours() -> float:
            return await timed(lambda: sender.publish_event("ours", {"text": PAYLOAD}))

        async def raw() -> float:
            return await timed(lambda: js.publish(raw_subject, body))

        measured = await interleave({"ours": ours, "raw": raw}, runs=runs)
        for task in readers:
            task.cancel()
        await asyncio.wait(readers)
    await raw_nc.close()
    return [_rate("fanout_32", measured, 0.85, unit="deliveries/s")]


async def fanout_signals(url: str, width: int = 32, count: int = 2_000, runs: int = 7) -> Sequence[Row]:
    """One signal, ``width`` handlers in one process."""
    raw_in, raw_out = await nats.connect(url), await nats.connect(url)
    body, subject = _body(envelopes.SIGNAL), subjects.signal(_TENANT, "sender", "raw")
    async with _agent("sender", url) as sender, _agent("reader", url) as reader:
        seen = _Counter(width * count)

        async def on_raw(message: Any) -> None:
            assert envelopes.decode(message.data).data["text"] == PAYLOAD
            seen.add()

        async def on_signal(signal: Signal) -> None:
            assert signal.data["text"] == PAYLOAD
            seen.add()

        for _ in range(width):
            await raw_in.subscribe(subject, cb=on_raw)
            await reader.on_signal("ours", on_signal)
        await raw_in.flush()

        async def raw() -> float:
            seen.reset()
            began = time.perf_counter()
            for _ in range(count):
                await raw_out.publish(subject, body)
            await seen.done()
            return width * count / (time.perf_counter() - began)

        async def ours() -> float:
            seen.reset()
            began = time.perf_counter()
            for _ in range(count):
                sender.publish_signal("ours", {"text": PAYLOAD})
            await seen.done()
            return width * count / (time.perf_counter() - began)

        measured = await interleave({"ours": ours, "raw": raw}, runs=runs)
    await raw_in.close()
    await raw_out.close()
    return [_rate("fanout_32_signals", measured, 0.85, unit="deliveries/s")]


# --- imports ---------------------------------------------------------------------------------------------------------


def import_box_agent(runs: int = 15) -> Sequence[Row]:
    """A fresh interpreter that imports it, against one that imports what it is built on."""

    def timed(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    async def measure() -> dict[str, list[float]]:
        async def ours() -> float:
            return timed("import box_agent")

        async def connecting() -> float:
            return timed("import box_agent; box_agent.connect, box_agent.aio")

        async def raw() -> float:
            return timed("import nats, pydantic")

        return await interleave({"ours": ours, "connecting": connecting, "raw": raw}, runs=runs)

    measured = asyncio.run(measure())
    name = "import nats, pydantic"
    return [
        _row("import_box_agent", measured["ours"], measured["raw"], unit="s", better="lower", demand=0.77, base=name),
        _row(
            "import_box_agent_connect",
            measured["connecting"],
            measured["raw"],
            unit="s",
            better="lower",
            demand=None,
            base=name,
            note="with everything that connect loads",
        ),
    ]


# --- shared ----------------------------------------------------------------------------------------------------------


class _Counter:
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


def _row(
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


def _rate(name: str, measured: dict[str, list[float]], demand: float, unit: str = "msg/s") -> Row:
    return _row(name, measured["ours"], measured["raw"], unit=unit, better="higher", demand=demand)


BENCHMARKS = [
    Benchmark("message_e2e", _in_server(message_e2e)),
    Benchmark(
        "durable_publish_1", _in_server(lambda url: durable_publish(url, "durable_publish_1", 1, 1_000, 9, 0.92))
    ),
    Benchmark(
        "durable_publish_256", _in_server(lambda url: durable_publish(url, "durable_publish_256", 256, 8_000, 9, 0.75))
    ),
    Benchmark("durable_consume", _in_server(durable_consume)),
    Benchmark("skill_call_p50", _in_server(lambda url: skill_call(url, "skill_call_p50", 1, 1_000, 9, 0.80))),
    Benchmark("skill_calls_64", _in_server(lambda url: skill_call(url, "skill_calls_64", 64, 8_000, 9, 0.65))),
    Benchmark("fanout_32", _in_server(fanout)),
    Benchmark("fanout_32_signals", _in_server(fanout_signals)),
    Benchmark("import_box_agent", import_box_agent),
]
"""``skill_call_p50`` demands at most 1.25 × the raw time, a ratio of 0.80."""
