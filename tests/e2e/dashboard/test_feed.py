"""The feed over a real bus and real sockets: complete, in order, bounded, and no burden to anybody."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats.errors
import pytest
import websockets
from nats.aio.client import Client

from box_agent.agent import Agent
from box_agent.config import AgentSettings
from hub.dashboard import FeedLimits
from hub.dashboard.routes import FEED_PATH
from schemas import envelope, subjects
from schemas.errors import BoxNotFound, SkillFailed, StoreUnavailable
from tests.e2e.dashboard.conftest import BRISK, Serve, watch
from tests.e2e.dashboard.town import Town
from tests.e2e.dashboard.town_server import tell
from tests.servers.nats import NatsServer

pytestmark = pytest.mark.nats_versions("oldest")


async def publish(client: Client, subject: str, data: Any = None, **attributes: Any) -> None:
    await client.publish(subject, envelope.encode(envelope.make("boxhub.test", "/default/me", data, **attributes)))


@asynccontextmanager
async def agent(name: str, server: NatsServer) -> AsyncIterator[Agent]:
    settings = AgentSettings(nats_url=server.url, tenant="default")
    async with await Agent.open(name, url=server.url, tenant="default", settings=settings) as opened:
        yield opened


async def test_a_viewer_sees_everything_that_is_there(serve: Serve, town: Town) -> None:
    async with watch(await serve(town)) as viewer:
        assert len(viewer.tables["boxes"]) == len(town.box_records)
        assert viewer.tables["nodes"].keys() == town.node_records.keys()
        assert viewer.tables["tasks"].keys() == town.task_records.keys()
        assert viewer.tables["branches"].keys() == town.branch_records.keys()
        assert viewer.tables["workspaces"].keys() == town.workspace_records.keys()
        await viewer.until(lambda: viewer.last["deadletters"] == len(town.dead))


async def test_changes_come_as_absolute_values_until_the_viewer_knows_what_is(serve: Serve, town: Town) -> None:
    async with watch(await serve(town)) as viewer:
        gone = next(name for name, box in town.box_records.items() if box.kind == "live")
        left = town.box_records.pop(gone)
        for later_s in range(40):
            town.step(time.time() + later_s)
        await viewer.until(lambda: f"{left.id} {left.instance}" not in viewer.tables["boxes"])
        await viewer.until(
            lambda: (
                {id: task["state"] for id, task in viewer.tables["tasks"].items()}
                == {id: task.state for id, task in town.task_records.items()}
                and {id: branch["state"] for id, branch in viewer.tables["branches"].items()}
                == {id: branch.state for id, branch in town.branch_records.items()}
            )
        )


async def test_what_the_bus_says_is_read_before_any_sweep(serve: Serve, town: Town, bus: Client) -> None:
    limits = dataclasses.replace(BRISK, sweep_s=3600)
    async with watch(await serve(town, limits=limits)) as viewer:
        await viewer.until(lambda: not viewer.last["health"])
        known = set(town.branch_records)
        for later_s in range(30):
            town.step(time.time() + later_s)
        await tell(bus, town)
        made = set(town.branch_records) - known
        assert made
        await viewer.until(lambda: made <= viewer.tables["branches"].keys())
        await viewer.until(lambda: viewer.tables["tasks"].keys() == town.task_records.keys())


async def test_traffic_shows_every_verb_also_what_goes_through_a_stream(serve: Serve, town: Town, bus: Client) -> None:
    stream = bus.jetstream()
    await stream.add_stream(name="INBOX", subjects=["default.v1.inbox.>"])
    async with watch(await serve(town)) as viewer:
        await viewer.until(lambda: not viewer.last["health"])
        body = envelope.encode(envelope.make("boxhub.message", "/default/me", {"cup": 1}, id="e-stored"))
        await stream.publish(subjects.inbox("default", "you", "me"), body)
        await publish(bus, subjects.event("default", "me", "coffee.ready"), {"cup": 2}, causationid="e-stored")
        await publish(bus, subjects.signal("default", "me", "log"), "four")
        await publish(bus, subjects.report("default", "_node-a", "task-1"), {"task": "task-1", "kind": "progress"})
        await viewer.until(lambda: len(viewer.traffic) >= 4)
        seen = {row["kind"]: row for row in viewer.traffic}
        assert seen.keys() == {"message", "event", "signal", "report"}
        assert (seen["message"]["id"], seen["message"]["to"], seen["message"]["sender"]) == ("e-stored", "you", "me")
        assert seen["event"]["causation"] == "e-stored"
        assert seen["signal"]["preview"] == '"four"'


async def test_calls_are_seen_by_their_answers(serve: Serve, town: Town, nats_server: NatsServer) -> None:
    async with (
        watch(await serve(town)) as viewer,
        agent("shop", nats_server) as shop,
        agent("me", nats_server) as me,
    ):
        await viewer.until(lambda: not viewer.last["health"])

        @shop.skill
        async def buy(kind: str) -> dict[str, str]:
            if kind == "tea":
                raise ValueError("no tea here")
            return {"bought": kind}

        assert await me.call("shop", "buy", "latte") == {"bought": "latte"}
        with pytest.raises(SkillFailed):
            await me.call("shop", "buy", "tea")

        def calls() -> list[dict[str, Any]]:
            return [row for row in viewer.traffic if row["kind"] == "call" and row["to"] == "shop"]

        await viewer.until(lambda: len(calls()) == 2)
        bought, refused = calls()
        assert (bought["sender"], bought["name"], bought["preview"]) == ("me", "buy", '{"bought":"latte"}')
        assert "failed" not in bought
        assert refused["failed"]


async def test_a_call_to_nobody_fails_at_once_while_somebody_watches(
    serve: Serve, town: Town, nats_server: NatsServer, bus: Client
) -> None:
    """The tap is no responder: not to a box, and not to a hub that is away."""
    async with (
        watch(await serve(town)) as viewer,
        agent("me", nats_server) as me,
    ):
        await viewer.until(lambda: not viewer.last["health"])
        for box in ("nobody", subjects.HUB):
            with pytest.raises(nats.errors.NoRespondersError):
                await bus.request(subjects.call("default", box, "me", "brew"), b"{}", timeout=10)
        with pytest.raises(BoxNotFound):
            await me.call("nobody", "brew")


async def test_who_comes_later_sees_what_just_passed(serve: Serve, town: Town, bus: Client) -> None:
    url = await serve(town)
    async with watch(url) as first:
        await first.until(lambda: not first.last["health"])
        await publish(bus, subjects.event("default", "me", "coffee.ready"))
        await first.until(lambda: len(first.traffic) == 1)
        async with watch(url) as second:
            assert [row["name"] for row in second.traffic] == ["coffee.ready"]


async def test_a_frame_is_the_same_bytes_for_everybody(serve: Serve, town: Town) -> None:
    url = await serve(town)
    async with watch(url) as one, watch(url) as other:
        frames: list[dict[int, str]] = [{}, {}]
        for viewer, kept in zip((one, other), frames, strict=True):
            for _ in range(20):
                text = await viewer.socket.recv()
                kept[json.loads(text)["seq"]] = str(text)
        both = frames[0].keys() & frames[1].keys()
        assert len(both) > 5
        assert all(frames[0][seq] == frames[1][seq] for seq in both)


async def test_a_viewer_that_does_not_read_slows_nobody_and_is_fresh_afterwards(serve: Serve, town: Town) -> None:
    town.boxes_wanted = 1000
    town.settle(past_s=1)
    url = await serve(town, limits=dataclasses.replace(BRISK, frames_waiting=4, read_share=1.0, send_timeout_s=60))
    host, port = url.removeprefix("http://").split(":")
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect((host, int(port)))
    small.setblocking(False)
    async with watch(url) as quick, watch(url, sock=small, max_queue=1) as slow:
        started, boxes = quick.last["seq"], 0
        async with asyncio.timeout(40):
            while boxes < 25_000:  # some 10 MB: more than all buffers between the two hold
                for box in town.box_records.values():
                    box.calls += 1
                await quick.socket.send('{"type": "refresh"}')
                boxes += len((await quick.next()).get("boxes", ()))
        assert quick.missed == 0
        await slow.until(lambda: slow.missed > 0)
        await slow.until(lambda: slow.last["type"] == "snapshot" and slow.last["seq"] > started)
        await slow.next()


async def test_a_flood_is_sampled_by_the_server_and_hides_nothing_rare(serve: Serve, town: Town, bus: Client) -> None:
    limits = dataclasses.replace(BRISK, bus_per_s=400, rows_per_s=200, sweep_s=3600)
    flood = 40_000
    async with watch(await serve(town, limits=limits)) as viewer:
        await viewer.until(lambda: not viewer.last["health"])
        body = envelope.encode(envelope.make(envelope.EVENT, "/default/me", {"n": 1}))
        subject = subjects.event("default", "me", "noise")
        began = time.monotonic()
        for sent in range(flood):
            await bus.publish(subject, body)
            if sent % 2000 == 0:
                await bus.flush()
            if sent == flood // 2:
                await publish(bus, subjects.inbox("default", "you", "me"), "rare")
        await bus.flush()
        took_s = time.monotonic() - began
        await viewer.until(lambda: any(row["preview"] == '"rare"' for row in viewer.traffic))
        await viewer.until(
            lambda: viewer.last["rates"]["sampled"] == ["events_s"] or not viewer.last["rates"]["sampled"]
        )
        heard = len(viewer.traffic) + viewer.last["rates"]["dropped"]
        assert heard < flood / 4, "the server went on sending"
        assert len(viewer.traffic) <= 200 * (took_s + 5)

        # When it is over, everything is listened to again.
        await viewer.until(lambda: not viewer.last["rates"]["sampled"] and viewer.last["rates"]["events_s"] == 0)
        await publish(bus, subjects.event("default", "me", "after"))
        await viewer.until(lambda: any(row["name"] == "after" for row in viewer.traffic))


async def test_steady_traffic_within_the_budget_is_listed_without_a_hole(serve: Serve, town: Town, bus: Client) -> None:
    """Credit is renewed while messages are under way, hundreds of times: none may fall into a gap."""
    limits = FeedLimits(frame_s=0.005, bus_per_s=4000, rows_per_s=4000, traffic=2000)
    async with watch(await serve(town, limits=limits)) as viewer:
        await viewer.until(lambda: not viewer.last["health"])
        for n in range(2000):
            await publish(bus, subjects.event("default", "me", "step"), n)
            if n % 10 == 0:
                await asyncio.sleep(0.008)
        await viewer.until(lambda: bool(viewer.traffic) and viewer.traffic[-1]["preview"] == "1999")
        assert [row["preview"] for row in viewer.traffic] == [str(n) for n in range(2000)]
        assert viewer.last["rates"]["dropped"] == 0


async def test_a_bus_that_goes_and_comes_back_is_said_and_heard_again(
    serve: Serve, town: Town, nats_server: NatsServer, bus: Client
) -> None:
    async with watch(await serve(town)) as viewer:
        await viewer.until(lambda: not viewer.last["health"])
        await nats_server.kill()
        await viewer.until(lambda: "bus" in viewer.last["health"])
        await nats_server.restart()
        await viewer.until(lambda: not viewer.last["health"])
        async with asyncio.timeout(20):
            while not bus.is_connected:
                await viewer.next()
        await publish(bus, subjects.event("default", "me", "again"))
        await viewer.until(lambda: any(row["name"] == "again" for row in viewer.traffic))


async def test_a_store_that_fails_is_said_and_what_is_known_stays(
    serve: Serve, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(**_: Any) -> Any:
        raise StoreUnavailable("the store is away")

    async with watch(await serve(town)) as viewer:
        with monkeypatch.context() as broken:
            broken.setattr(town, "task_list", fails)
            await viewer.until(lambda: viewer.last["health"].get("store") == "the store is away")
            assert viewer.tables["tasks"]
        await viewer.until(lambda: "store" not in viewer.last["health"])


async def test_nothing_is_read_while_nobody_watches(
    serve: Serve, town: Town, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    boxes = town.boxes

    async def counted() -> Any:
        nonlocal reads
        reads += 1
        return await boxes()

    monkeypatch.setattr(town, "boxes", counted)
    url = await serve(town)
    async with watch(url) as viewer:
        await viewer.until(lambda: reads >= 3)
    async with watch(url):
        pass
    before = reads
    async with watch(url) as viewer:  # its own first read, and not those of the time between
        assert reads <= before + 3


# --- who may watch ------------------------------------------------------------------------------------------------


async def closed_with(url: str, *frames: str, **options: Any) -> int:
    async with websockets.connect(url.replace("http", "ws") + FEED_PATH, max_size=None, **options) as connection:
        for frame in frames:
            await connection.send(frame)
        async with asyncio.timeout(20):
            await connection.wait_closed()
        assert connection.close_code is not None
        return connection.close_code


async def test_a_page_of_somebody_else_is_refused(serve: Serve, town: Town) -> None:
    url = await serve(town)
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(
            url.replace("http", "ws") + FEED_PATH, origin=websockets.Origin("http://evil.test")
        ):
            pass
    assert refused.value.response.status_code == 403
    async with watch(url, origin=websockets.Origin(url)) as viewer:
        assert viewer.last["type"] == "snapshot"


@pytest.mark.parametrize(
    "frame", ["nonsense", "[]", '{"type": 1}', '{"type": "bye"}', '{"type": "hello", "x": "%s"}' % ("x" * 9000)]
)
async def test_nonsense_ends_the_connection(serve: Serve, town: Town, frame: str) -> None:
    assert await closed_with(await serve(town), frame) == 1008


async def test_who_says_nothing_is_let_go(serve: Serve, town: Town) -> None:
    assert await closed_with(await serve(town, limits=dataclasses.replace(BRISK, hello_timeout_s=0.1))) == 1008


async def test_viewers_are_bounded_and_a_place_is_free_again(serve: Serve, town: Town) -> None:
    url = await serve(town, limits=dataclasses.replace(BRISK, viewers=1))
    async with watch(url):
        assert await closed_with(url, '{"type": "hello"}') == 1013
    async with watch(url) as viewer:
        assert viewer.last["type"] == "snapshot"


async def test_resync_gives_a_snapshot(serve: Serve, town: Town) -> None:
    async with watch(await serve(town)) as viewer:
        await viewer.next()
        await viewer.socket.send('{"type": "resync"}')
        await viewer.until(lambda: viewer.last["type"] == "snapshot")


async def test_without_a_credential_there_is_no_feed(serve: Serve, town: Town) -> None:
    url = await serve(town, token="secret")
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with watch(url):
            pass
    assert refused.value.response.status_code == 403
    async with watch(url, additional_headers={"Authorization": "Bearer secret"}) as viewer:
        assert viewer.last["type"] == "snapshot"
