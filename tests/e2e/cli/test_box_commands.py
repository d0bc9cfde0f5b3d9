"""``boxhub box`` and ``boxhub cache`` as a user types them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from box_agent import aio
from hub.local import LocalSystem
from tests.e2e.running import run, system_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SHOP = """
    import threading
    from box_agent import Box, Context, skill
    from schemas.box import Policy

    class Login(Box, policy=Policy(secrets=["pin"])):
        @skill
        def login(self, user: str, context: Context) -> str:
            return f"{user}:{context.secret('pin')}"

    class Shop(Box, version="3", env={"CUP": "large"}, files={"menu.txt": "latte"}, commands=["cat menu.txt > copy"]):
        \"\"\"Sells coffee.\"\"\"
        def setup(self) -> None:
            threading.Thread(target=threading.Event().wait, daemon=True, name="grinder").start()
        @skill
        def buy(self, kind: str, cups: int = 1) -> str:
            return f"{cups} {kind} for {self.login('ada')}"

    class Kiosk(Box):
        @skill
        def buy(self, kind: str) -> str:
            return kind

    coffee = Login() + Shop()
    fetched = Box("fetched").run("true", network=True)
    number = 3
    def clash() -> Box:
        return Shop() + Kiosk()
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "corner_shop.py").write_text(textwrap.dedent(SHOP))
    (folder / "clashing.py").write_text("from corner_shop import clash\nbox = clash()\n")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "pin").write_text("1234\n")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory, scripts: Path) -> AsyncIterator[LocalSystem]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOXHUB_NODE_SECRETS", str(scripts / "secrets"))
        async with system_in(tmp_path_factory.mktemp("box-home")) as system:
            yield system


@pytest.fixture
def cli(system: LocalSystem, scripts: Path) -> Callable[..., Any]:
    async def call(*arguments: str, home: Path | None = None) -> Any:
        env = {"PYTHONPATH": str(scripts)}
        return await run("hub.cli", *arguments, home=home or system.home.directory, env=env, timeout_s=60)

    return call


async def test_a_box_is_built_listed_inspected_and_warm(cli, system):
    built = await cli("box", "build", "corner_shop:coffee", "--json")
    assert built.code == 0, built
    explanation = json.loads(built.out)
    assert [layer["kind"] for layer in explanation["layers"]] == ["files", "run", "template"]
    assert all(layer["cached"] for layer in explanation["layers"])
    assert any("grinder" in note and "runs again in every box" in note for note in explanation["notes"])

    listed = await cli("box", "ls")
    assert "login-shop" in listed.out, listed
    assert explanation["fingerprint"][:12] in listed.out
    (row,) = [d for d in json.loads((await cli("box", "ls", "--json")).out) if d["name"] == "login-shop"]
    assert row["policy"]["secrets"] == ["pin"]

    shown = await cli("box", "inspect", "login-shop")
    for words in ("cat menu.txt > copy", "kind, cups?", "grinder", "CUP=large", "secrets=['pin']", "yes", "STANDS ON"):
        assert words in shown.out, shown
    found = json.loads((await cli("box", "inspect", "login-shop", "--json")).out)
    assert found["explanation"]["layers"] == explanation["layers"]
    assert {s["name"]: s["secrets"] for s in found["definition"]["skills"]} == {"buy": [], "login": ["pin"]}
    below, own = found["explanation"]["templates"]
    assert [(t["parts"], t["warm"]) for t in (below, own)] == [(["login"], True), (["login", "shop"], True)]
    assert (below["prefix"], own["prefix"], own["fingerprint"]) == (
        "",
        below["fingerprint"],
        explanation["fingerprint"],
    )
    cached = json.loads((await cli("cache", "ls", "--json")).out)
    templates = {e["id"]: (e["prefix"], e["size_bytes"] > 0) for e in cached if e["kind"] == "template"}
    assert templates == {below["fingerprint"]: ("", True), own["fingerprint"]: (below["fingerprint"], True)}

    async with aio.connect("buyer", url=system.connection.nats_url) as agent:
        live = await agent.spawn(await agent.boxes.definition("login-shop"))
        assert await live.buy("latte") == "1 latte for ada:1234"
        assert await live.part("login").login("bob") == "bob:1234"
        with pytest.raises(AttributeError, match="it has: buy"):
            await live.part("shop").login("bob")


async def test_the_cache_is_listed_and_pruned(cli):
    assert (await cli("box", "build", "corner_shop:Kiosk")).code == 0
    assert "template" in (await cli("cache", "ls")).out
    entries = json.loads((await cli("cache", "ls", "--json")).out)
    assert {entry["kind"] for entry in entries} >= {"template", "files", "blobs"}
    assert json.loads((await cli("cache", "prune", "--unused-s", "3600", "--json")).out) == []
    pruned = await cli("cache", "prune")
    assert "freed" in pruned.out, pruned
    left = json.loads((await cli("cache", "ls", "--json")).out)
    assert {entry["kind"] for entry in left} == {"blobs"}
    found = json.loads((await cli("box", "inspect", "kiosk", "--json")).out)
    assert not any(layer["cached"] for layer in found["explanation"]["layers"])
    assert (await cli("box", "build", "corner_shop:Kiosk")).code == 0, "it is made again"


async def test_a_file_is_as_good_as_a_module_and_needs_no_hub_to_be_inspected(cli, scripts, tmp_path):
    done = await cli("box", "inspect", f"{scripts}/corner_shop.py:fetched", home=tmp_path / "none")
    assert done.code == 0, done
    assert "no node was asked" in done.out
    assert "it fetches from the network" in done.out
    asked = await cli("box", "inspect", "corner_shop:fetched", "--json")
    assert [layer["cached"] for layer in json.loads(asked.out)["explanation"]["layers"]] == [False, False]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("box", "build", "corner_shop"), 2, "MODULE:NAME"),
        (("box", "build", "nowhere_at_all:box"), 2, "nowhere_at_all"),
        (("box", "build", "missing.py:box"), 2, "missing.py"),
        (("box", "build", "corner_shop:nothing"), 2, "nothing"),
        (("box", "build", "corner_shop:number"), 2, "not a Box"),
        (("box", "build", "clashing:box"), 2, "prefer"),
        (("box", "build", "corner_shop:Kiosk", "--node", "elsewhere"), 3, "elsewhere"),
        (("box", "inspect", "unknown"), 3, "unknown"),
        (("cache", "ls", "--node", "elsewhere"), 3, "elsewhere"),
        (("cache", "prune", "--unused-s", "-1"), 2, "unused-s"),
    ],
)
async def test_errors_have_an_exit_code(cli, arguments, code, says):
    done = await cli(*arguments)
    assert done.code == code, done
    assert says in done.err, done
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [("box", "ls"), ("box", "build", "corner_shop:Kiosk"), ("cache", "ls")])
async def test_without_a_hub_the_cure_is_said(cli, tmp_path, arguments):
    done = await cli(*arguments, home=tmp_path / "none")
    assert (done.code, "boxhub up" in done.err) == (5, True), done
