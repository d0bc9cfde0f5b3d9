"""The bus against raw nats-py with the same wire bytes; FastStream beside it where it can do the same."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from benchmarks.harness import Benchmark, Row, interleave
from benchmarks.load import (
    PAYLOAD,
    TENANT,
    Counter,
    agent_at,
    body_of,
    in_parallel,
    in_server,
    plain_row,
    rate_row,
    request_body,
)
from box_agent.bus.received import Event, Signal
from schemas import envelope as envelopes
from schemas import subjects

# --- signals ---------------------------------------------------------------------------------------------------------


async def message_e2e(url: str, count: int = 20_000, runs: int = 9) -> Sequence[Row]:
    """One publisher, one subscriber, each with its connection: first publish to last handler."""
    raw_in, raw_out = await nats.connect(url), await nats.connect(url)
    body, subject = body_of(envelopes.SIGNAL), subjects.signal(TENANT, "sender", "raw")
    async with agent_at("sender", url) as sender, agent_at("receiver", url) as receiver:
        seen = Counter(count)

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
    rows = [rate_row("message_e2e", measured, 0.50)]
    return rows + await _faststream_e2e(url, measured["raw"], count=4_000)


async def _faststream_e2e(url: str, raw: Sequence[float], count: int) -> list[Row]:
    try:
        from faststream.nats import NatsBroker
    except ImportError:
        return []
    seen = Counter(count)
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
        plain_row(
            "message_e2e_faststream", ours, raw, unit="msg/s", better="higher", demand=None, note="for comparison"
        )
    ]


# --- durable publish -------------------------------------------------------------------------------------------------


async def durable_publish(url: str, name: str, at_once: int, count: int, runs: int, demand: float) -> Sequence[Row]:
    """Confirmed publishes, ``at_once`` under way."""
    raw_nc = await nats.connect(url)
    js = raw_nc.jetstream(timeout=30)
    body = body_of(envelopes.EVENT)
    subject = subjects.event(TENANT, "sender", "raw")
    async with agent_at("sender", url) as sender:
        await sender.publish_event("ours")  # makes the stream
        serial = iter(range(10**9))

        async def raw_one() -> None:
            # the id as long as ours, told apart by its number
            await js.publish(subject, body, headers={"Nats-Msg-Id": f"sender/raw/e-{next(serial):018d}"})

        async def ours_one() -> None:
            await sender.publish_event("ours", {"text": PAYLOAD})

        async def timed(one: Callable[[], Awaitable[None]]) -> float:
            began = time.perf_counter()
            await in_parallel(one, at_once, count)
            return count / (time.perf_counter() - began)

        measured = await interleave({"ours": lambda: timed(ours_one), "raw": lambda: timed(raw_one)}, runs=runs)
    await raw_nc.close()
    return [rate_row(name, measured, demand)]


# --- durable consume -------------------------------------------------------------------------------------------------


async def durable_consume(url: str, count: int = 5_000, runs: int = 7) -> Sequence[Row]:
    """Stored events handed to one handler and acknowledged, against ``fetch(256)`` and ``ack``."""
    raw_nc = await nats.connect(url)
    js = raw_nc.jetstream(timeout=30)
    async with agent_at("sender", url) as sender:
        first = await sender.publish_event("stored", {"text": PAYLOAD})
        async with asyncio.TaskGroup() as group:
            for _ in range(count - 1):
                group.create_task(sender.publish_event("stored", {"text": PAYLOAD}))
        stream = subjects.stream_name(TENANT, "event")
        serial = iter(range(10**9))

        async def raw() -> float:
            config = ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first, ack_policy=AckPolicy.EXPLICIT
            )
            name = f"raw{next(serial)}"
            subject = subjects.event_filter(TENANT, "stored")
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
            seen = Counter(count)

            async def on_event(event: Event) -> None:
                seen.add()

            async with agent_at(f"reader{next(serial)}", url) as reader:
                began = time.perf_counter()
                subscription = await reader.on_event("stored", on_event, from_sequence=first)
                await seen.done()
                took = time.perf_counter() - began
                await subscription.aclose()
            return count / took

        measured = await interleave({"ours": ours, "raw": raw}, runs=runs)
    await raw_nc.close()
    return [rate_row("durable_consume", measured, 0.75)]


# --- calls -----------------------------------------------------------------------------------------------------------


async def skill_call(url: str, name: str, at_once: int, count: int, runs: int, demand: float) -> Sequence[Row]:
    """Calls of a no-op skill: the median time of one, or calls per second with ``at_once`` under way."""
    raw_in, raw_out = await nats.connect(url), await nats.connect(url)
    request, answer = request_body(), body_of(envelopes.RESULT)
    subject = subjects.call(TENANT, "raw", "sender", "echo")

    async def respond(message: Any) -> None:
        await message.respond(answer)

    await raw_in.subscribe(subject, queue="raw", cb=respond)
    await raw_in.flush()
    async with agent_at("sender", url) as sender, agent_at("server", url) as server:

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
                await in_parallel(one, at_once, count)
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
        return [rate_row(name, measured, demand, unit="calls/s")]
    return [plain_row(name, measured["ours"], measured["raw"], unit="s", better="lower", demand=demand)]


BENCHMARKS = [
    Benchmark("message_e2e", in_server(message_e2e)),
    Benchmark("durable_publish_1", in_server(lambda url: durable_publish(url, "durable_publish_1", 1, 1_000, 9, 0.92))),
    Benchmark(
        "durable_publish_256", in_server(lambda url: durable_publish(url, "durable_publish_256", 256, 8_000, 9, 0.75))
    ),
    Benchmark("durable_consume", in_server(durable_consume)),
    Benchmark("skill_call_p50", in_server(lambda url: skill_call(url, "skill_call_p50", 1, 1_000, 9, 0.80))),
    Benchmark("skill_calls_64", in_server(lambda url: skill_call(url, "skill_calls_64", 64, 8_000, 9, 0.65))),
]
"""``skill_call_p50`` demands at most 1.25 × the raw time, a ratio of 0.80."""
