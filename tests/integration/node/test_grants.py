"""What a skill may ask of the platform: secrets of its own part, and the hub's services."""

from __future__ import annotations

from pathlib import Path

import pytest

from box_agent import Box, Context, skill
from box_agent.agent import Agent
from schemas.errors import NotFound, PermissionDenied
from tests.integration.node.conftest import StartNode

pytestmark = pytest.mark.nats_versions("current")


class Vault(Box):
    @skill
    def read(self, name: str, context: Context) -> str:
        return context.secret(name)

    @skill
    def sneak(self, name: str, context: Context) -> str:
        """Past the check in its own process: the node has one too."""
        return str(context._port.request("secret", {"name": name}))


class Reader(Box):
    @skill
    def menu(self) -> str:
        return Path("/data/menu.txt").read_text()


class Clerk(Box):
    @skill
    def note(self, conversation: str, text: str, context: Context) -> int:
        context.bus.conversations.say(conversation, text, author=context.address)
        context.bus.keyvalues.put("last", text)
        return len(context.bus.conversations.turns(conversation))

    @skill
    def spaces(self, context: Context) -> list[str]:
        return [workspace.name for workspace in context.bus.workspaces.list()]


class Poet(Box):
    @skill
    async def note(self, conversation: str, text: str, context: Context) -> int:
        await context.aio.conversations.say(conversation, text, author=context.address)
        return len(await context.aio.conversations.turns(conversation))


async def test_a_secret_is_read_where_it_is_granted_and_there_only(
    start_node: StartNode, planner: Agent, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "pin").write_text("1234\n")
    (folder / "other").write_text("hidden")
    await start_node(secrets=folder)
    box = Vault().allow(secrets=["pin", "absent"])
    async with await planner.spawn(box) as live:
        assert await live.read("pin") == "1234"
        (folder / "pin").write_text("5678\n")
        assert await live.read("pin") == "5678", "the value is the node's, now"
        with pytest.raises(PermissionDenied, match="other"):
            await live.read("other")
        with pytest.raises(PermissionDenied, match="other"):
            await live.sneak("other")
        with pytest.raises(PermissionDenied):
            await live.sneak("../secrets/other")
        with pytest.raises(NotFound, match="absent"):
            await live.read("absent")


async def test_without_a_directory_of_secrets_the_cure_is_said(start_node: StartNode, planner: Agent) -> None:
    await start_node()
    async with await planner.spawn(Vault().allow(secrets=["pin"])) as live:
        with pytest.raises(NotFound, match="BOXHUB_NODE_SECRETS"):
            await live.read("pin")


@pytest.mark.parametrize("box", [Clerk, Poet])
async def test_a_skill_writes_to_a_conversation_as_its_box(
    start_node: StartNode, planner: Agent, box: type[Box]
) -> None:
    await start_node()
    talk = await planner.conversations.create("talk")
    async with await planner.spawn(box) as live:
        assert await live.note(talk.id, "hello") == 1
        assert await live.note(talk.id, "again") == 2
        assert {turn.author for turn in await planner.conversations.turns(talk.id)} == {live.address}


async def test_a_skill_sees_key_values_and_workspaces(start_node: StartNode, planner: Agent) -> None:
    await start_node()
    talk = await planner.conversations.create("talk")
    await planner.workspaces.create("site")
    async with await planner.spawn(Clerk) as live:
        await live.note(talk.id, "hello")
        entry = await planner.keyvalues.get("last")
        assert entry is not None
        assert entry.value == "hello"
        assert "site" in await live.spaces()


async def test_secrets_and_the_nodes_own_state_are_not_lent(
    start_node: StartNode, planner: Agent, tmp_path: Path
) -> None:
    secrets, data = tmp_path / "secrets", tmp_path / "data"
    for folder in (secrets, data, tmp_path / "elsewhere"):
        folder.mkdir()
    (data / "menu.txt").write_text("latte")
    node = await start_node(secrets=secrets, mounts=(data, secrets), drivers=("local",))
    (driver,) = node.info().drivers
    if not driver.available:
        pytest.skip(driver.reason)
    for refused in (secrets, tmp_path, tmp_path / "elsewhere", node.agent.settings.home):
        with pytest.raises(PermissionDenied):
            await planner.spawn(Vault().allow(mounts={"/data": str(refused)}), timeout_s=10)
    async with await planner.spawn(Reader().allow(mounts={"/data": str(data)})) as live:
        assert await live.menu() == "latte"


async def test_what_a_driver_cannot_give_is_refused(start_node: StartNode, planner: Agent) -> None:
    await start_node(drivers=("process",))
    box = Vault().allow(mounts={"/data": "/usr/share"})
    with pytest.raises(Exception, match="cannot mount directories"):
        await planner.spawn(box, timeout_s=5)
