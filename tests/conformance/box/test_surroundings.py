"""What a box finds around it, and what it can say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from schemas.errors import Conflict, DeadlineExceeded
from tests.conformance.box.boxes import Lounge, Workshop
from tests.conformance.box.conftest import Workbench, ask

ROOT = Path(__file__).parents[3]


async def test_its_own_directory_is_the_current_one(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    assert await box.call(ask("write", "made.txt", "here")) == str(box.workspace / "made.txt")
    assert (box.directory / "made.txt").read_text() == "here"


async def test_the_environment_is_the_boxs_own(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_SECRET", "hunter2")
    box = await bench.spawn(Workshop().env(CUP="large"))
    names = await box.call(ask("names"))
    assert "NODE_SECRET" not in names
    assert not [n for n in names if n.startswith("BOXHUB_") and n != "BOXHUB_BOX"]
    assert await box.call(ask("environment", "CUP")) == "large"
    assert await box.call(ask("environment", "FROM_THE_NODE")) == "yes"
    assert await box.call(ask("environment", "BOXHUB_BOX")) == box.id
    for name in ("HOME", "TMPDIR"):
        private = await box.call(ask("environment", name))
        assert private != str(Path.home())
        found = [name for name in await box.call(ask("inside", private)) if name not in _interpreter_below(private)]
        assert found == []


def _interpreter_below(directory: str) -> set[str]:
    """What a box sees there, because the interpreter that runs these tests was installed below."""
    needed = (Path(sys.prefix), Path(sys.base_prefix), ROOT)
    return {path.relative_to(directory).parts[0] for path in needed if path.is_relative_to(directory)}


async def test_no_descriptor_but_its_own(bench: Workbench, tmp_path: Path) -> None:
    with (tmp_path / "the node's").open("w"):
        other = await bench.spawn(Workshop)
        box = await bench.spawn(Workshop)
        found = await box.call(ask("descriptors"))
    assert found["0"] == "/dev/null"
    sockets = [target for target in found.values() if target.startswith("socket:")]
    assert len(sockets) == 1
    assert not [target for target in found.values() if target.startswith("/") and target != "/dev/null"]
    assert await other.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_context_tells_who_and_where(bench: Workbench) -> None:
    box = await bench.spawn(Workshop, id="talker")
    said = await box.call(ask("talk", id="c"))
    assert said == f"tester called talker.talk in {box.workspace}"
    assert bench.heard.emitted == [
        ("talker", "c", "progress", {"fraction": 0.5, "note": "half-way"}),
        ("talker", "c", "log", {"text": "a line"}),
    ]


@pytest.mark.shared
async def test_a_flood_of_log_lines_is_cut_and_said_to_be(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    assert await box.call(ask("flood", 50_000)) == 50_000
    assert 100 < len(bench.heard.emitted) < 40_000


async def test_requests_go_out_as_the_box(bench: Workbench) -> None:
    box = await bench.spawn(Workshop, id="sender")
    bench.heard.answer = "m-1"
    assert await box.call(ask("send", "planner", {"a": 1}, id="c")) == "m-1"
    assert bench.heard.requests == [("sender", "c", "send_message", {"to": "planner", "data": {"a": 1}})]
    bench.heard.answer = Conflict("no such luck")
    with pytest.raises(Conflict, match="no such luck"):
        await box.call(ask("send", "planner", None))


@pytest.mark.shared
async def test_async_skills_request_without_blocking(bench: Workbench) -> None:
    box = await bench.spawn(Lounge, id="asker")
    bench.heard.answer = {"n": 3}
    assert await box.call(ask("ask", "shop", "buy", id="c")) == {"n": 3}
    _, _, verb, arguments = bench.heard.requests[0]
    assert verb == "call"
    assert arguments == {"box": "shop", "skill": "buy", "args": [1], "kwargs": {"two": 2}, "timeout_s": 30.0}


async def test_what_it_prints_is_heard(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    await box.call(ask("say", "hello"))
    await bench.heard.until(lambda: "hello\n" in bench.heard.text("output"))
    await box.call(ask("say", "y" * 1000, times=3000))
    await box.stop()
    assert len(bench.heard.text("output")) < 2_000_000


@pytest.mark.shared
async def test_the_last_words_of_a_box_are_heard(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    await box.call(ask("shell", "(sleep 0.2; echo last words >&2) > /proc/$PPID/fd/2 2>&1 & sleep 0.4"))
    await box.stop()
    assert "last words" in bench.heard.text("output")


@pytest.mark.shared
async def test_commands_run_in_the_directory_and_stream_their_output(bench: Workbench) -> None:
    box = await bench.spawn(Workshop, id="sh")
    done = await box.call(ask("shell", 'pwd; echo "$BOXHUB_BOX"; echo err >&2; exit 3', id="c"))
    assert done == {"code": 3, "output": f"{box.workspace}\nsh\nerr\n", "truncated": False}
    assert bench.heard.text("log") == done["output"]
    done = await box.call(ask("shell", "yes | head -c 3000000"))
    assert done["truncated"]
    assert len(done["output"]) == 1024 * 1024


@pytest.mark.shared
async def test_a_command_in_time_leaves_its_background_work_running(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    done = await box.call(ask("shell", "sleep 600 & echo started", 10.0))
    assert done["output"] == "started\n"
    assert (await box.stats()).processes == 2


@pytest.mark.shared
async def test_a_command_past_its_time_ends_with_everything_it_started(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    command = "sleep 600 & setsid sleep 600 & (setsid sh -c 'sleep 600 & sleep 600' &) ; echo waiting; wait"
    with pytest.raises(DeadlineExceeded) as late:
        await box.call(ask("shell", command, 0.5))
    assert late.value.details["output"] == "waiting\n"
    assert (await box.stats()).processes == 1
    assert await box.call(ask("add", 1, 1)) == 2


@pytest.mark.shared
async def test_a_cancelled_call_ends_its_command(bench: Workbench) -> None:
    box = await bench.spawn(Workshop)
    with pytest.raises(DeadlineExceeded):
        await box.call(ask("shell", "sleep 600 & sleep 600", timeout_s=0.5))
    assert (await box.stats()).processes == 1
