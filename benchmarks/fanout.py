"""One event or signal, many subscribers in one process, against nats-py with the same wire bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from benchmarks.harness import Benchmark, Row, interleave
from benchmarks.load import PAYLOAD, TENANT, Counter, agent_at, body_of, in_parallel, in_server, rate_row
from box_agent.bus.received import Event, Signal
from schemas import envelope as envelopes
from schemas import subjects


async def fanout(url: str, width: int = 32, count: int = 200, runs: int = 7) -> Sequence[Row]:
    """One stored event, ``width`` durable subscribers in one process: deliveries handled and acked per second."""
    raw_nc = await nats.connect(url)
    js = raw_nc.jetstream(timeout=30)
    total = width * count
    async with agent_at("sender", url) as sender, agent_at("reader", url) as reader:
        await sender.publish_event("ours")
        seen = Counter(total)

        async def on_event(event: Event) -> None:
            assert event.data["text"] == PAYLOAD
            seen.add()

        for _ in range(width):
            await reader.on_event("ours", on_event)
        stream = subjects.stream_name(TENANT, "event")
        subject = subjects.event_filter(TENANT, "raw")
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
            await in_parallel(publish, 64, count)
            await seen.done()
            return total / (time.perf_counter() - began)

        body = body_of(envelopes.EVENT)
        raw_subject = subjects.event(TENANT, "sender", "raw")

        async def ours() -> float:
            return await timed(lambda: sender.publish_event("ours", {"text": PAYLOAD}))

        async def raw() -> float:
            return await timed(lambda: js.publish(raw_subject, body))

        measured = await interleave({"ours": ours, "raw": raw}, runs=runs)
        for task in readers:
            task.cancel()
        await asyncio.wait(readers)
    await raw_nc.close()
    return [rate_row("fanout_32", measured, 0.85, unit="deliveries/s")]


async def fanout_signals(url: str, width: int = 32, count: int = 2_000, runs: int = 7) -> Sequence[Row]:
    """One signal, ``width`` handlers in one process."""
    raw_in, raw_out = await nats.connect(url), await nats.connect(url)
    body, subject = body_of(envelopes.SIGNAL), subjects.signal(TENANT, "sender", "raw")
    async with agent_at("sender", url) as sender, agent_at("reader", url) as reader:
        seen = Counter(width * count)

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
    return [rate_row("fanout_32_signals", measured, 0.85, unit="deliveries/s")]


BENCHMARKS = [Benchmark("fanout_32", in_server(fanout)), Benchmark("fanout_32_signals", in_server(fanout_signals))]
