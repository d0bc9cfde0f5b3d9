"""Templates: environment steps, set-up, what is kept and what goes."""

from __future__ import annotations

import asyncio
import os
import time
import zipfile
from pathlib import Path

import pytest

from box_agent import Box, Context, skill
from schemas.box import Policy
from schemas.errors import BlobNotFound, BoxhubError, DeadlineExceeded, DriverUnavailable, PermissionDenied, SkillFailed
from tests.conformance.box.boxes import Broken, Prepared, Threaded, Workshop
from tests.conformance.box.conftest import LocalBlobs, Workbench, ask


def wheel(folder: Path, name: str, text: str) -> Path:
    """A package with one module that holds ``TEXT``."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"TEXT = {text!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.shared
async def test_it_is_built_once_however_many_ask(bench: Workbench) -> None:
    definition, blobs = Workshop().pack()
    bench.blobs.add(blobs)
    built = await asyncio.gather(*(bench.driver.build_template(definition, bench.blobs) for _ in range(4)))
    assert len(set(map(id, built))) == 1
    assert [t.fingerprint for t in bench.driver.templates] == [definition.fingerprint]


async def test_files_and_commands_are_the_boxs_first_content(bench: Workbench) -> None:
    box = Workshop().files({"data/a.txt": "A", "b.txt": b"B"}).run("cat data/a.txt b.txt > made.txt; rm b.txt")
    one, two = await bench.spawn(box), await bench.spawn(box)
    assert await one.call(ask("listing")) == {"data/a.txt": "A", "made.txt": "AB"}
    assert one.laid == {"data/a.txt", "made.txt"}
    await one.call(ask("write", "made.txt", "changed"))
    assert (await two.call(ask("listing")))["made.txt"] == "AB"
    three = await bench.spawn(box)
    assert (await three.call(ask("listing")))["made.txt"] == "AB"


async def test_what_is_in_the_directory_goes_over_the_environment(bench: Workbench, tmp_path: Path) -> None:
    directory = bench.directory("branch")
    (directory / "a.txt").write_text("the branch's")
    (directory / "link").symlink_to("/etc")
    (directory / "dir").write_text("a file here")
    box = Workshop().files({"a.txt": "mine", "new.txt": "new", "link/x": "x", "dir/y": "y"})
    live = await bench.spawn(box, directory=directory)
    assert live.laid == {"new.txt"}
    assert (directory / "a.txt").read_text() == "the branch's"
    assert not Path("/etc/x").exists()
    assert (directory / "dir").read_text() == "a file here"


@pytest.mark.shared
async def test_a_chain_of_commands_continues_where_it_was(bench: Workbench) -> None:
    """What ran before is not run again, or it would have thrown other dice."""
    dice = "head -c 16 /dev/urandom | od -An -tx1"
    first = Workshop().run(f"{dice} > one")
    alone = await (await bench.spawn(first)).call(ask("listing"))
    live = await bench.spawn(first.run(f"{dice} > two; cat one > copy"))
    both = await live.call(ask("listing"))
    assert both["one"] == both["copy"] == alone["one"] != both["two"]
    again = await (await bench.spawn(first.env(OTHER="value").run("true"))).call(ask("listing"))
    assert again["one"] != alone["one"], "a command may look at its variables"
    assert await (await bench.spawn(first)).call(ask("listing")) == alone


async def test_a_command_that_builds_stands_where_boxes_stand(bench: Workbench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    tmp_path.chmod(0o755)
    box = Workshop().run(f"cat {secret} > seen 2>&1 || true; id -u > user; pwd > where")
    found = await (await bench.spawn(box)).call(ask("listing"))
    if bench.driver.info.isolation == "none":
        assert found["seen"] == "hunter2"
    else:
        assert "hunter2" not in found["seen"]
        if bench.driver.info.isolation != "landlock":
            assert int(found["user"]) not in (0, os.geteuid())
            assert found["where"] == "/workspace\n"


async def test_packages_are_there_for_skills_and_commands(bench: Workbench, tmp_path: Path) -> None:
    def imported() -> str:
        import boxhub_conformance_package as package  # type: ignore[import-not-found]

        return str(package.TEXT)

    path = wheel(tmp_path, "boxhub_conformance_package", "from a wheel")
    box = Workshop().skill(imported).pip(path).run(
        "python -c 'import boxhub_conformance_package as p; print(p.TEXT)' > printed"
    )  # fmt: skip
    live = await bench.spawn(box)
    assert await live.call(ask("imported")) == "from a wheel"
    assert (await live.call(ask("listing")))["printed"] == "from a wheel\n"
    plain = await bench.spawn(Box("plain").skill(imported))
    with pytest.raises(SkillFailed, match="ModuleNotFoundError"):
        await plain.call(ask("imported"))


@pytest.mark.shared
async def test_its_own_files_can_be_imported_and_shadow_nothing(bench: Workbench) -> None:
    def look() -> list[str]:
        import json

        import shop  # type: ignore[import-not-found]

        return [str(shop.NAME), json.dumps(1)]

    live = await bench.spawn(Box("modules").files({"shop.py": "NAME = 'corner'", "json.py": "1/0"}).skill(look))
    assert await live.call(ask("look")) == ["corner", "1"]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (Broken(), "no luck"),
        (Workshop().run("echo this went wrong; exit 3"), "this went wrong"),
        (Workshop().pip("./there-is-no-such-file.whl"), "there-is-no-such-file"),
    ],
)
async def test_what_fails_is_told_with_its_output(bench: Workbench, box: Box, words: str) -> None:
    with pytest.raises(SkillFailed, match=words) as failed:
        await bench.template(box)
    if "no luck" in words:
        assert "about to fail" in failed.value.details["output"]
        assert "RuntimeError" in failed.value.details["traceback"]
    assert bench.driver.templates == []


async def test_a_step_has_a_time_limit(bench: Workbench) -> None:
    with pytest.raises(DeadlineExceeded, match="sleep 600"):
        await bench.template(Workshop().run("sleep 600 & sleep 600", timeout_s=0.3))


async def test_a_build_that_is_cancelled_is_undone(bench: Workbench) -> None:
    building = asyncio.ensure_future(bench.template(Workshop().run("sleep 600")))
    await asyncio.sleep(0.2)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert bench.driver.templates == []


@pytest.mark.shared
async def test_missing_blobs_are_said(bench: Workbench, tmp_path: Path) -> None:
    definition, _ = Workshop().files({"x": "y"}).pack()
    with pytest.raises(BlobNotFound):
        await bench.driver.build_template(definition, LocalBlobs(tmp_path / "none"))


async def test_code_for_another_python_is_refused(bench: Workbench) -> None:
    definition, blobs = Workshop().pack()
    bench.blobs.add(blobs)
    with pytest.raises(DriverUnavailable, match=r"2\.7"):
        await bench.driver.build_template(definition.model_copy(update={"python": "2.7"}), bench.blobs)


async def test_code_that_is_none_is_an_error(bench: Workbench) -> None:
    definition, _ = Workshop().pack()
    broken = definition.model_copy(update={"code": bench.blobs.cache.put(b"not a pickle"), "fingerprint": "f" * 64})
    with pytest.raises(BoxhubError):
        await bench.driver.build_template(broken, bench.blobs)


@pytest.mark.shared
async def test_a_setup_that_a_fork_does_not_carry_over_runs_in_every_box(bench: Workbench) -> None:
    _, template = await bench.template(Threaded)
    assert "watcher" in template.notes[0]
    live = await bench.spawn(Threaded)
    assert "watcher" in await live.call(ask("threads"))


@pytest.mark.shared
async def test_temporary_files_of_a_setup_are_there_in_every_box(bench: Workbench) -> None:
    for _ in range(2):
        box = await bench.spawn(Prepared)
        assert await box.call(ask("read")) == "by setup"


async def test_a_removed_template_leaves_its_boxes(bench: Workbench) -> None:
    live = await bench.spawn(Workshop)
    definition, _ = Workshop().pack()
    assert await bench.driver.remove_template(definition.fingerprint) is True
    assert await bench.driver.remove_template(definition.fingerprint) is False
    assert await live.call(ask("next")) == 1
    again = await bench.spawn(Workshop)
    assert await again.call(ask("next")) == 1
    await live.stop()


async def test_a_box_that_dies_before_it_is_ready_is_told(bench: Workbench) -> None:
    class Late(Threaded):
        def setup(self) -> None:
            super().setup()
            if "BOXHUB_BOX" in os.environ:
                raise RuntimeError("not today")

    with pytest.raises(SkillFailed, match="not today"):
        await bench.spawn(Late)


async def test_a_box_that_is_not_ready_in_time_is_undone(bench: Workbench) -> None:
    class Slow(Threaded):
        def setup(self) -> None:
            super().setup()
            if "BOXHUB_BOX" in os.environ:
                time.sleep(600)

    await bench.template(Slow)
    with pytest.raises(DeadlineExceeded) as late:
        await bench.spawn(Slow, timeout_s=0.5)
    assert late.value.details["timeout"] == "spawn"


async def test_sweep_finds_nothing_where_nothing_was_left(bench: Workbench) -> None:
    assert list(await bench.driver.sweep()) == []


@pytest.mark.shared
async def test_a_wheel_travels_with_the_box(bench: Workbench, tmp_path: Path) -> None:
    def imported() -> str:
        import boxhub_travelling_package as package  # type: ignore[import-not-found]

        return str(package.TEXT)

    path = wheel(tmp_path, "boxhub_travelling_package", "came along")
    box = Box("wheeled").pip(path).skill(imported)
    definition, blobs = box.pack()
    path.unlink()
    bench.blobs.add(blobs)
    await bench.driver.build_template(definition, bench.blobs)
    assert await (await bench.spawn(box)).call(ask("imported")) == "came along"


@pytest.mark.shared
async def test_an_expired_layer_is_made_again_with_what_stands_on_it_and_its_boxes_keep_theirs(
    bench: Workbench,
) -> None:
    dice = "od -An -N16 -tx1 /dev/urandom"
    box = (
        Workshop()
        .run(f"{dice} > early")
        .run(f"{dice} > fetched", network=True, expires_s=3)
        .run(f"cp fetched copied; {dice} > derived")
    )
    first = await bench.spawn(box)
    old = await first.call(ask("listing"))
    expires_at = bench.driver.explain(box.pack()[0])[1].expires_at
    assert expires_at is not None
    await asyncio.sleep(max(0.0, expires_at - time.time()))  # nothing but the clock ends it
    assert [state.cached for state in bench.driver.explain(box.pack()[0])] == [True, False, False, False]
    new = await (await bench.spawn(box)).call(ask("listing"))
    assert new["early"] == old["early"]
    assert new["fetched"] == new["copied"] != old["fetched"]
    assert new["derived"] != old["derived"]
    assert await first.call(ask("listing")) == old


@pytest.mark.shared
async def test_explain_says_what_is_here_and_makes_nothing(bench: Workbench) -> None:
    box = Workshop().files({"a.txt": "a"}).run("cat a.txt > b.txt")
    definition = box.pack()[0]
    before = bench.driver.cached()  # a driver that tried itself has something already
    assert [state.cached for state in bench.driver.explain(definition)] == [False, False, False]
    assert bench.driver.cached() == before
    await bench.template(box)
    assert [state.cached for state in bench.driver.explain(definition)] == [True, True, True]
    longer = box.run("true").pack()[0]
    assert [state.cached for state in bench.driver.explain(longer)] == [True, True, False, False]
    assert await bench.driver.remove_template(definition.fingerprint)
    assert [state.cached for state in bench.driver.explain(definition)] == [True, True, False]


@pytest.mark.shared
async def test_prune_leaves_what_a_box_stands_on(bench: Workbench, tmp_path: Path) -> None:
    def imported() -> str:
        import boxhub_pruned_package as package  # type: ignore[import-not-found]

        return str(package.TEXT)

    box = Box("standing").pip(wheel(tmp_path, "boxhub_pruned_package", "still here")).skill(imported)
    definition, _ = await bench.template(box)
    live = await bench.spawn(box)
    entries = {entry.kind: entry for entry in bench.driver.cached()}
    assert "boxhub_pruned_package-1.0" in entries["packages"].what
    assert entries["packages"].size_bytes > 0
    assert entries["packages"].in_use
    assert list(bench.driver.prune(0)) == [], "a template stands on it"
    await bench.driver.remove_template(definition.fingerprint)
    assert list(bench.driver.prune(0)) == [], "its box still does"
    assert await live.call(ask("imported")) == "still here"
    await live.stop()
    assert list(bench.driver.prune(3600)) == [], "used a moment ago"
    assert {entry.kind for entry in bench.driver.prune(0)} == {"packages", "files"}
    assert bench.driver.cached() == []
    again = await bench.spawn(box)
    assert await again.call(ask("imported")) == "still here"


@pytest.mark.shared
async def test_a_skill_gets_the_secrets_of_its_own_part_only(bench: Workbench) -> None:
    class Vault(Box, policy=Policy(secrets=["pin"])):
        @skill
        def open(self, context: Context) -> str:
            return context.secret("pin")

    class Till(Box, policy=Policy(secrets=["key"])):
        @skill
        def own(self, context: Context) -> str:
            return context.secret("key")

        @skill
        def foreign(self, context: Context) -> str:
            return context.secret("pin")

        @skill
        def sibling(self, context: Context) -> str:
            return str(self.open())

    bench.heard.answer = "1234"
    live = await bench.spawn(Vault() + Till())
    assert await live.call(ask("own")) == await live.call(ask("sibling")) == "1234"
    assert [(verb, arguments) for _, _, verb, arguments in bench.heard.requests] == [
        ("secret", {"name": "key"}), ("secret", {"name": "pin"}),
    ]  # fmt: skip
    with pytest.raises(PermissionDenied, match=r"allow\(secrets=\['pin'\]"):
        await live.call(ask("foreign"))
    assert len(bench.heard.requests) == 2
