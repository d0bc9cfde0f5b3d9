"""Serves the page over a `Town`: the real feed and socket, and the REST answers the page asks for.

python -m tests.e2e.dashboard.town_server --nats nats://127.0.0.1:4222 --boxes 1000 --rate 1000
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
import uvicorn
from fastapi import FastAPI, HTTPException
from nats.aio.client import Client

from hub.dashboard import FeedLimits, mount_dashboard
from hub.gateway.auth import Gatekeeper
from schemas import envelope, subjects
from schemas.tree import Change
from tests.e2e.dashboard.town import Town

EVENTS = ("repair.candidate", "repair.requested", "repair.verdict", "tests.finished")
DIFF = """\
--- a/{file}
+++ b/{file}
@@ -{line},5 +{line},5 @@ def overlaps(a: Interval, b: Interval) -> bool:
     \"\"\"True when the closed intervals share at least one point.\"\"\"
     if a.start > b.start:
         a, b = b, a
-    return b.start < a.end
+    return b.start <= a.end
"""


def town_app(town: Town, *, limits: FeedLimits | None = None, token: str = "") -> FastAPI:
    """The page, its feed and its REST questions."""
    app = FastAPI()

    @app.get("/api/v1/boxes")
    async def boxes() -> Any:
        return await town.boxes()

    @app.get("/api/v1/boxes/{id}")
    async def box(id: str) -> Any:
        return _found(town.box_records, id)

    @app.get("/api/v1/tasks/{id}")
    async def task(id: str) -> Any:
        return _found(town.task_records, id)

    @app.get("/api/v1/tasks/{id}/updates")
    async def updates(id: str, after: int = 0) -> Any:
        return await town.task_updates(id, after)

    @app.post("/api/v1/tasks/{id}/cancel")
    async def cancel(id: str) -> Any:
        return await town.task_cancel(id)

    @app.get("/api/v1/branches/{id}/diff")
    async def diff(id: str, content: bool = False) -> Any:
        branch = await town.branch_get(id)
        if not branch.metadata:
            return []
        file, line = branch.metadata["file"], branch.metadata["line"]
        added = Change(path="notes/attempt.md", kind="added").model_dump()
        text = "--- /dev/null\n+++ b/notes/attempt.md\n@@ -0,0 +1,2 @@\n+# Why\n+The docstring says closed.\n"
        changed = Change(path=file, kind="modified").model_dump()
        return [{**changed, "text": DIFF.format(file=file, line=line)}, {**added, "text": text}]

    @app.post("/api/v1/branches/{id}/{verb}")
    async def end(id: str, verb: str) -> Any:
        branch = await town.branch_get(id)
        branch.state = "committed" if verb == "commit" else "discarded"
        branch.ended_at = asyncio.get_running_loop().time()
        return {"branch": id, "target": branch.parent, "tree": branch.head, "fast_forward": True, "changes": []}

    @app.get("/api/v1/conversations")
    async def conversations() -> Any:
        return list(town.conversation_records.values())

    @app.get("/api/v1/conversations/{id}/turns")
    async def turns(id: str) -> Any:
        return _found(town.turns, id)

    @app.get("/api/v1/deadletters")
    async def deadletters() -> Any:
        return list(town.dead.values())

    @app.post("/api/v1/deadletters/{sequence}/redrive")
    async def redrive(sequence: int) -> Any:
        _found(town.dead, sequence)
        del town.dead[sequence]
        return {"redriven": sequence}

    mount_dashboard(app, town, limits=limits)
    if token:
        app.add_middleware(Gatekeeper, token=token, hosts=frozenset({"127.0.0.1"}), port=0)
    return app


def _found(records: Mapping[Any, Any], id: Any) -> Any:
    if id not in records:
        raise HTTPException(404, {"error": {"code": "not_found", "message": f"no {id!r}"}})
    return records[id]


async def tell(client: Client, town: Town) -> None:
    """Says on the bus what a hub would say about what has just moved: to its replicas, and to who asked for it."""
    hub = subjects.source("default", subjects.HUB)
    moved, town.moved = sorted(town.moved), set()
    if moved:
        said = envelope.make(envelope.SIGNAL, hub, {"by": "hub-town", "moved": [[task, ""] for task in moved]})
        await client.publish(subjects.signal("default", subjects.HUB, "tasks.moved"), envelope.encode(said))
    done, town.done = town.done, []
    for skill, result in done:
        made = envelope.make(envelope.RESULT, hub, result, subject=skill)
        await client.publish("_I.planner.r-town.call.1", envelope.encode(made))


async def _keep_telling(client: Client, town: Town) -> None:
    while True:
        await tell(client, town)
        await asyncio.sleep(0.1)


class Traffic:
    """Publishes real envelopes on the real bus at a steady rate, in bursts of 10 ms."""

    def __init__(self, client: Client, town: Town, rate: int) -> None:
        self._client, self._town, self._rate = client, town, rate
        self._random = random.Random(1)
        self._last_id = ""
        self.sent = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        started, base = loop.time(), self.sent
        while True:
            due = int((loop.time() - started) * self._rate) - (self.sent - base)
            for _ in range(max(0, due)):
                await self.publish()
            await asyncio.sleep(0.01)

    async def publish(self) -> None:
        people = ("planner", "coder-1", "coder-2", "coder-3", "reviewer")
        me = self._random.choice(people)
        kind = self._random.choices(("inbox", "event", "call", "signal", "report"), (25, 25, 30, 10, 10))[0]
        data: Any = {
            "candidate": self._random.randint(1, 300),
            "file": "intervals.py",
            "score": round(self._random.random(), 3),
        }
        to, extra = self._random.choice(people), {}
        match kind:
            case "inbox":
                subject = subjects.inbox("default", to, me)
            case "event":
                subject = subjects.event("default", me, self._random.choice(EVENTS))
            case "call":
                subject, me, extra = f"_I.{me}.r-town.call.{self.sent}", to, {"subject": "propose"}
            case "signal":
                subject = subjects.signal("default", me, "progress.tests")
            case _:
                task = self._random.choice(list(self._town.task_records) or ["task-0"])
                subject = subjects.report("default", "_node-anvil", task)
                data = {"task": task, "attempt": 1, "sequence": 2, "kind": "progress", "data": data}
        source, type = subjects.source("default", me), envelope.RESULT if kind == "call" else f"boxhub.{kind}"
        made = envelope.make(type, source, data, causationid=self._last_id or None, **extra)
        self._last_id = made.id
        await self._client.publish(subject, envelope.encode(made))
        self.sent += 1


async def _keep_dead_letters(client: Client, town: Town) -> None:
    """Into the real stream, as that is where the feed counts them."""
    stream = client.jetstream()
    name = subjects.stream_name("default", "dead")
    await stream.add_stream(name=name, subjects=[subjects.every("default", "dead")])
    await stream.purge_stream(name)
    for letter in town.dead.values():
        await stream.publish(subjects.dead("default", letter.box), letter.model_dump_json().encode())


@asynccontextmanager
async def town_server(
    town: Town,
    *,
    rate: int = 0,
    port: int = 0,
    live: bool = True,
    limits: FeedLimits | None = None,
    token: str = "",
) -> AsyncIterator[str]:
    """The page's URL, while it is served; ``rate`` messages pass on the bus each second. With a token, the gateway's
    own gatekeeper stands before it."""
    app = town_app(town, limits=limits, token=token)
    config = uvicorn.Config(
        app, "127.0.0.1", port, log_level="warning", ws_per_message_deflate=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    client = await nats.connect(town.nats_url)
    await _keep_dead_letters(client, town)
    started = asyncio.Event()
    serve, startup = server.serve, server.startup

    async def startup_and_say(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = startup_and_say  # type: ignore[method-assign]
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(serve())
            background = [group.create_task(_keep_telling(client, town))]
            if live:
                background.append(group.create_task(town.live()))
            if rate:
                background.append(group.create_task(Traffic(client, town, rate).run()))
            await started.wait()
            bound = server.servers[0].sockets[0].getsockname()[1]
            try:
                yield f"http://127.0.0.1:{bound}"
            finally:
                for task in background:
                    task.cancel()
                server.should_exit = True
                await serving
    finally:
        await client.close()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--past", type=float, default=90)
    arguments = parser.parse_args()
    town = Town(arguments.nats, boxes_wanted=arguments.boxes)
    town.settle(arguments.past)
    async with town_server(town, rate=arguments.rate, port=arguments.port) as url:
        print(url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
