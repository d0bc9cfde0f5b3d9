"""The command line as a user types it, against a running system."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from box_agent import aio
from box_agent.agent import Agent
from hub.local import LocalSystem
from tests.e2e.running import Done, none_left, run, started, system_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalSystem]:
    async with system_in(tmp_path_factory.mktemp("cli-home")) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(system: LocalSystem) -> AsyncIterator[Agent]:
    """An attached agent with a skill that works, one that takes for ever, and a handler that always fails."""
    async with aio.connect("shop", url=system.connection.nats_url) as agent:

        @agent.skill
        async def buy(kind: str, cups: int = 1) -> str:
            return f"{cups} {kind}"

        @agent.skill
        async def brew() -> None:
            await asyncio.Event().wait()

        yield agent


@pytest.fixture
def cli(system: LocalSystem) -> Any:
    async def call(*arguments: str) -> Done:
        return await run("hub.cli", *arguments, home=system.home.directory, timeout_s=60)

    return call


async def test_doctor_says_what_this_machine_can_do_and_why_not(cli):
    report = json.loads((await cli("doctor", "--json", "local", "process", "container")).out)
    works = {d["info"]["name"]: d["info"]["available"] for d in report["drivers"]}
    assert works["process"] and report["default"] in works
    table = await cli("doctor", "local", "process", "container")
    assert table.code == 0, table
    for driver in report["drivers"]:
        assert re.search(rf"^{driver['info']['name']} .*{driver['info']['isolation']}", table.out, re.MULTILINE)
        assert (f"\n{driver['info']['name']}: " in table.out) == bool(driver["info"]["reason"])
    wrong = await cli("doctor", "docker")
    assert (wrong.code, "container" in wrong.err) == (2, True)


async def test_status_says_where_and_how_it_is(cli):
    done = await cli("status")
    assert done.code == 0, done
    assert re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", done.out)
    assert "process (none)" in done.out
    found = json.loads((await cli("status", "--json")).out)
    assert [n["state"] for n in found["nodes"]] == ["ready"]


@pytest.mark.usefixtures("shop")
async def test_boxes_call_and_send(cli, shop):
    done = await cli("boxes")
    assert "shop" in done.out, done
    assert "buy" in done.out, done
    assert "shop" in [b["id"] for b in json.loads((await cli("boxes", "--json")).out)]
    assert "ISOLATION" in done.out, done
    assert "REACHES" in done.out, done
    called = await cli("call", "shop", "buy", "kind=latte", "cups=2")
    assert json.loads(called.out) == "2 latte"
    got = asyncio.Queue[Any](10)
    subscription = await shop.on_message(got.put)
    sent = await cli("send", "shop", '{"hello": 1}')
    async with asyncio.timeout(20):
        message = await got.get()
    assert (message.id, message.data) == (sent.out.strip(), {"hello": 1})
    await subscription.aclose()


async def test_events_are_published_and_replayed(cli):
    first = await cli("publish", "cli.tested", '{"n": 1}')
    assert first.out.strip().isdigit(), first
    done = await cli("events", "cli.*", "--from", first.out.strip(), "-n", "1", "--json")
    event = json.loads(done.out)
    assert (event["name"], event["data"]) == ("cli.tested", {"n": 1})


@pytest.mark.usefixtures("shop")
async def test_a_task_is_submitted_followed_and_listed(cli):
    submitted = await cli("submit", "shop", "buy", "kind=mocha", "--id", "cli-1")
    assert submitted.out.strip() == "cli-1", submitted
    followed = await cli("task", "cli-1", "--follow")
    assert "completed" in followed.out
    assert "1 mocha" in followed.out
    assert "cli-1" in (await cli("tasks", "--state", "completed")).out
    assert json.loads((await cli("task", "cli-1", "--json")).out)["result"] == "1 mocha"


async def test_a_task_that_waits_says_why(cli):
    await cli("submit", "nobody-yet", "buy", "--id", "cli-waits")
    done = await cli("task", "cli-waits")
    assert "nobody is connected as 'nobody-yet'" in done.out, done
    assert "number 1 of 1" in done.out, done
    await cli("cancel", "cli-waits")


@pytest.mark.usefixtures("shop")
async def test_cancel_waits_for_the_proof(cli):
    await cli("submit", "shop", "brew", "--id", "cli-2")
    done = await cli("cancel", "cli-2", "--reason", "closing")
    assert done.out.strip() == "cli-2 canceled", done
    record = json.loads((await cli("task", "cli-2", "--json")).out)
    assert record["cancel"]["reason"] == "closing"
    assert record["cancel"]["stopped_at"] is not None


async def test_branches_and_diff(cli, system):
    async with aio.connect("writer", url=system.connection.nats_url) as agent:
        workspace = await agent.workspaces.create("cli-site")
        (branch,) = await agent.workspaces.fork(workspace.root, names=["try-1"], files={"a.txt": "one\n"})
    tree = await cli("branch", "tree", workspace.id)
    assert "cli-site" in tree.out, tree
    assert "try-1" in tree.out, tree
    diff = await cli("branch", "diff", branch.id)
    assert "+one" in diff.out, diff
    assert "added" in (await cli("branch", "diff", branch.id, "--names")).out


async def test_a_branch_is_looked_at_compared_rebased_tagged_and_committed(cli, system):
    async with aio.connect("writer", url=system.connection.nats_url) as agent:
        site = await agent.workspaces.open("cli-branches", create=True)
        await site.write({"a.txt": "1\n2\n3\n"})
        one, two = await site.fork("cli-one", "cli-two")
        await one.write({"a.txt": "one\n2\n3\n"})
        await two.write({"a.txt": "1\n2\nthree\n", "b.txt": "b\n"})
    assert "cli-one" in (await cli("branch", "ls", site.workspace.id)).out
    assert "b.txt" in (await cli("branch", "compare", "cli-one", two.id)).out
    assert "fast-forward" in (await cli("branch", "commit", "cli-one")).out
    assert "cli-two" in (await cli("branch", "rebase", "cli-two")).out
    assert "v1" in (await cli("branch", "tag", "cli-two", "v1")).out
    tags = json.loads((await cli("branch", "tag", "cli-two", "--json")).out)
    heads = {branch["id"]: branch["head"] for branch in json.loads((await cli("branch", "ls", "--json")).out)}
    assert tags["v1"]["tree"] == heads[two.id]
    committed = json.loads((await cli("branch", "commit", "cli-two", "--json")).out)
    assert committed["fast_forward"] and {change["path"] for change in committed["changes"]} == {"a.txt", "b.txt"}
    log = await cli("branch", "log", site.id)
    assert log.out.index("cli-two") < log.out.index("cli-one")
    assert "no changes" in (await cli("branch", "compare", site.id, tags["v1"]["tree"])).out
    assert (await cli("branch", "commit", "cli-two")).code == 4
    assert (await cli("branch", "discard", "nowhere")).code == 3
    assert "no tags" in (await cli("branch", "tag", "cli-two", "v1", "-d")).out


async def test_a_name_that_two_branches_have_is_refused_with_their_ids(cli, system):
    async with aio.connect("writer", url=system.connection.nats_url) as agent:
        site = await agent.workspaces.open("cli-twins", create=True)
        twins = await site.fork("twin", "twin")
    refused = await cli("branch", "discard", "twin")
    assert refused.code == 2
    assert all(twin.id in refused.err for twin in twins)
    assert "discarded" in (await cli("branch", "discard", twins[0].id)).out


async def test_dead_letters_are_listed_and_redriven(cli, system):
    fails = True
    handled = asyncio.Event()

    async def handler(message: Any) -> None:
        if fails:
            raise ValueError("not today")
        handled.set()

    async with aio.connect("moody", url=system.connection.nats_url) as agent:
        await agent.on_message(handler, max_deliver=1)
        await cli("send", "moody", "hello")
        async with asyncio.timeout(30):
            while not (letters := json.loads((await cli("deadletters", "--box", "moody", "--json")).out)):
                pass
        assert "not today" in letters[0]["cause"]["message"]
        fails = False
        assert (await cli("deadletters", "--redrive", str(letters[0]["sequence"]))).code == 0
        async with asyncio.timeout(30):
            await handled.wait()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("task", "none"), 3, "none"),
        (("call", "nobody", "x"), 3, "nobody"),
        (("call", "shop", "sell"), 3, "buy"),
        (("call", "shop", "buy", "cups=many"), 2, "cups"),
        (("call", "shop", "buy", "=x"), 2, "name=value"),
        (("publish", "bad name"), 2, "bad name"),
        (("call", "shop", "brew", "--timeout-s", "0.2"), 7, "0.2"),
        (("cancel", "cli-absent"), 3, "cli-absent"),
    ],
)
async def test_errors_are_one_line_with_an_exit_code(cli, arguments, code, says):
    done = await cli(*arguments)
    assert done.code == code, done
    assert says in done.err, done
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1, done


async def test_schema_and_version_need_no_hub(tmp_path):
    schema = await run("hub.cli", "schema", home=tmp_path / "none")
    assert "Envelope" in json.loads(schema.out)["$defs"]
    assert re.match(r"\d+\.\d+", (await run("hub.cli", "--version", home=tmp_path / "none")).out)
    missing = await run("hub.cli", "status", home=tmp_path / "none")
    assert (missing.code, "boxhub up" in missing.err) == (5, True), missing


async def _ready(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(40):
        while (found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", text)) is None:
            line = await process.stdout.readline()
            assert line, f"it ended: {text}"
            text += line.decode()
    return found.group()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_up_serves_until_it_is_asked_to_stop(tmp_path, number):
    home = tmp_path / "home"
    async with started("hub.cli", "up", "--port", "18731", home=home) as up:
        url = await _ready(up)
        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as browser:
            page = await browser.get(url)
            assert page.status_code == 200
        second = await run("hub.cli", "up", home=home)
        assert second.code != 0
        assert str(up.pid) in second.err, second
        up.send_signal(number)
        async with asyncio.timeout(20):
            assert await up.wait() in (0, 128 + number)
    await none_left(home)


async def test_down_ends_what_up_started(tmp_path):
    home = tmp_path / "home"
    async with started("hub.cli", "up", home=home) as up:
        await _ready(up)
        assert (home / "connection.json").stat().st_mode & 0o777 == 0o600
        done = await run("hub.cli", "down", home=home)
        assert done.out.strip() == "stopped", done
        async with asyncio.timeout(10):
            await up.wait()
    await none_left(home)
    assert (await run("hub.cli", "down", home=home)).out.strip() == "nothing was running"


async def test_a_killed_supervisor_leaves_nothing_and_can_be_started_again(tmp_path):
    home = tmp_path / "home"
    async with started("hub.cli", "up", home=home) as up:
        await _ready(up)
        os.kill(up.pid, signal.SIGKILL)
        await up.wait()
    await none_left(home)
    async with started("hub.cli", "up", home=home) as up:
        await _ready(up)
        up.terminate()
        await up.wait()
    await none_left(home)


async def test_the_home_is_private(system):
    assert Path(system.home.directory).stat().st_mode & 0o077 == 0
