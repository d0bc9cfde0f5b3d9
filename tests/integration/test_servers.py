"""The servers that all other integration tests trust."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import nats
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from tests.servers.nats import NatsBinary, NatsServer
from tests.servers.process import ServerFailed, ServerProcess

if TYPE_CHECKING:
    from playwright.async_api import Browser


async def test_nats_keeps_what_it_acknowledged_over_kill_and_restart(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url, allow_reconnect=False)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s.*"])
    for number in range(50):
        await stream.publish("s.a", str(number).encode())
    port, first_pid = nats_server.port, nats_server.pid

    await nats_server.kill()
    assert not nats_server.running
    await client.close()
    await nats_server.restart()

    assert nats_server.port == port
    assert nats_server.pid != first_pid
    client = await nats.connect(nats_server.url)
    state = (await client.jetstream().stream_info("S")).state
    assert state.messages == 50
    last = await client.jetstream().get_last_msg("S", "s.a")
    assert last.data == b"49"
    await client.close()


async def test_nats_stops_in_order_and_is_reachable_after_pause(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    nats_server.pause()
    with pytest.raises(nats.errors.TimeoutError):
        await client.request("$JS.API.INFO", timeout=1)
    nats_server.resume()
    await client.request("$JS.API.INFO", timeout=10)
    await client.close()
    await nats_server.stop()
    assert not nats_server.running
    await nats_server.start()
    assert nats_server.log_tail().count("Server is ready") == 2


@pytest.mark.nats_versions("current")
async def test_nats_takes_configuration(nats_binary: NatsBinary, tmp_path: Path) -> None:
    async with NatsServer(nats_binary, tmp_path, config="max_payload: 2048") as server:
        client = await nats.connect(server.url)
        assert client.max_payload == 2048
        await client.close()
        assert (tmp_path / "store").is_dir()
    assert not server.running


@pytest.mark.nats_versions("current")
async def test_a_server_that_cannot_start_shows_its_log(nats_binary: NatsBinary, tmp_path: Path) -> None:
    server = NatsServer(nats_binary, tmp_path, config="no_such_setting: 1")
    with pytest.raises(ServerFailed, match="no_such_setting"):
        await server.start()
    assert not server.running


def test_shared_nats_server_is_one_process(shared_nats_server: NatsServer, tenant: str) -> None:
    assert shared_nats_server.running
    assert tenant


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child's life to its parent's")
def test_servers_die_with_the_test_process(tmp_path: Path) -> None:
    """A killed test run leaves no server behind: a middleman starts one, says its pid, and is killed."""
    middleman = (
        "import sys; from tests.servers.process import ServerProcess\n"
        "server = ServerProcess('cat', ['/bin/sh', '-c', 'echo up; exec cat \"$0\"', sys.argv[1]],"
        " is_ready=lambda line: line.startswith('up'))\n"
        "server.launch(); server.wait_ready(); print(server.pid, flush=True); sys.stdin.read()\n"
    )
    pipe = tmp_path / "never-written"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-c", middleman, str(pipe)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        server = os.pidfd_open(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        ended, _, _ = select.select([server], [], [], 10)
    os.close(server)
    assert ended, "the server outlived the process that started it"


def test_stop_is_harmless_before_launch_and_twice() -> None:
    server = ServerProcess("cat", ["/bin/sh", "-c", "echo up; read line"], is_ready=lambda line: "up" in line)
    server.stop()
    server.kill()
    server.launch()
    server.wait_ready()
    server.stop()
    server.stop()
    assert not server.running


async def test_mongodb_takes_and_gives_back_a_document(mongodb_url: str) -> None:
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(mongodb_url, serverSelectionTimeoutMS=5000)
    database = client[f"servers_{uuid4().hex[:8]}"]
    await database["things"].insert_one({"_id": "a", "n": 1})
    assert await database["things"].find_one({"_id": "a"}) == {"_id": "a", "n": 1}
    await client.drop_database(database.name)
    client.close()


async def test_browser_runs_a_page(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content('<button onclick="this.textContent = 6 * 7">ask</button>')
    await page.get_by_role("button").click()
    assert await page.get_by_role("button").text_content() == "42"
