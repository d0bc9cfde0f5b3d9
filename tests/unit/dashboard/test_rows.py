"""Messages and records as rows."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dashboard import rows
from hub.dashboard.hints import Hints, Wanted
from schemas import envelope, subjects
from schemas.box import LiveBox, SkillSpec
from schemas.errors import ErrorInfo
from schemas.task import Attempt, TaskRecord, TaskSpec


def row_of(subject: str, data: Any, **attributes: Any) -> dict[str, Any]:
    made = envelope.make("boxhub.test", "/t/me", data, **attributes)
    return rows.traffic_row(subjects.parse(subject), envelope.encode(made), 1.0)


@pytest.mark.parametrize(
    ("subject", "kind", "sender", "to", "name"),
    [
        (subjects.inbox("t", "you", "me"), "message", "me", "you", ""),
        (subjects.event("t", "me", "coffee.ready"), "event", "me", "", "coffee.ready"),
        (subjects.signal("t", "me", "log"), "signal", "me", "", "log"),
    ],
)
def test_a_row_says_who_and_what_from_the_subject(subject: str, kind: str, sender: str, to: str, name: str) -> None:
    row = row_of(subject, {"cup": 1}, id="e-1", branch="b-1", causationid="e-0")
    assert (row["kind"], row["sender"], row["to"], row["name"]) == (kind, sender, to, name)
    assert (row["id"], row["branch"], row["causation"], row["preview"]) == ("e-1", "b-1", "e-0", '{"cup":1}')


def test_a_report_is_named_by_what_it_reports_and_leads_to_its_task() -> None:
    row = row_of(subjects.report("t", "_node-a", "task-1"), {"task": "task-1", "attempt": 1, "kind": "progress"})
    assert (row["kind"], row["sender"], row["to"], row["name"]) == ("report", "_node-a", "task-1", "progress")


def test_bytes_and_blobs_are_described() -> None:
    subject = subjects.inbox("t", "you", "me")
    assert row_of(subject, b"x" * 300)["preview"] == "300 bytes, not text"
    assert row_of(subject, None, dataref="ab" * 32)["preview"].startswith("blob abab")


@given(st.text(max_size=600))
def test_a_preview_is_the_beginning_of_the_content(text: str) -> None:
    row = row_of(subjects.inbox("t", "you", "me"), text)
    whole = envelope.encode(envelope.make("x", "/t/me", text, id="e")).decode()
    preview = row["preview"]
    assert len(preview) <= 200
    assert preview.removesuffix("…") in whole
    assert len(json.dumps(row)) < 3000


@given(st.binary(max_size=400))
def test_no_body_whatever_breaks_a_row(body: bytes) -> None:
    row = rows.traffic_row(subjects.parse(subjects.event("t", "me", "x")), body, 1.0)
    assert row["bytes"] == len(body)
    json.dumps(row)


def test_a_foreign_subject_is_none() -> None:
    assert rows.subject_of("$JS.API.INFO") is None


def test_a_heartbeat_changes_nothing_and_a_call_does() -> None:
    box = LiveBox(id="a", calls=1, heartbeat_at=1.0)
    assert rows.box_signature(box) == rows.box_signature(box.model_copy(update={"heartbeat_at": 2.0}))
    assert rows.box_signature(box) != rows.box_signature(box.model_copy(update={"calls": 2}))


def test_a_box_row_leaves_the_long_schemas_out() -> None:
    skill = SkillSpec(name="s", input_schema={"type": "object", "properties": {f"p{i}": {} for i in range(500)}})
    row = rows.box_row(LiveBox(id="a", instance="i", skills=[skill]))
    assert row["skills"] == [{"name": "s", "streaming": False, "effect": "none"}]
    assert row["state"] == "ready"  # said although it is the default


def test_instances_of_one_address_are_rows_of_their_own() -> None:
    assert rows.box_key(LiveBox(id="a", instance="1")) != rows.box_key(LiveBox(id="a", instance="2"))


def test_a_task_row_has_attempts_and_error_and_no_arguments() -> None:
    error = ErrorInfo(code="box_died", message="killed", details={"traceback": "x" * 5000})
    attempt = Attempt(number=1, runner="_node-a", state="lost", assigned_at=2.0, ended_at=3.0, error=error)
    spec = TaskSpec(box="b", skill="s", arguments={"big": "x" * 5000}, branch="branch-1")
    task = TaskRecord(id="t", tenant="d", spec=spec, state="failed", attempts=[attempt], error=error, result="x" * 5000)
    row = rows.task_row(task)
    assert row["attempts"] == [
        {
            "number": 1,
            "runner": "_node-a",
            "state": "lost",
            "assigned_at": 2.0,
            "ended_at": 3.0,
            "error": {"code": "box_died", "message": "killed"},
        }
    ]
    assert (row["branch"], row["error"]["code"]) == ("branch-1", "box_died")
    assert len(json.dumps(row)) < 600


# --- answers to calls ---------------------------------------------------------------------------------------------


def answer(type: str, data: Any, source: str = "/t/shop") -> rows.Answer | None:
    return rows.open_answer("t", "me", envelope.encode(envelope.make(type, source, data, id="e-1", subject="brew")))


def test_a_call_is_shown_by_its_answer() -> None:
    seen = answer(envelope.RESULT, {"cups": 1})
    assert seen is not None
    row = seen.row(1.0)
    assert (row["kind"], row["sender"], row["to"], row["name"]) == ("call", "me", "shop", "brew")
    assert (row["preview"], "failed" in row) == ('{"cups":1}', False)


def test_an_error_is_a_failed_call() -> None:
    seen = answer(envelope.ERROR, {"code": "skill_failed", "message": "no milk"})
    assert seen is not None
    assert seen.row(1.0)["failed"] is True


@pytest.mark.parametrize(
    ("type", "source"), [(envelope.CHUNK, "/t/shop"), (envelope.CONTROL, "/t/shop"), (envelope.RESULT, "/other/shop")]
)
def test_parts_of_a_stream_and_other_tenants_are_no_calls_of_ours(type: str, source: str) -> None:
    assert answer(type, 1, source) is None


@given(st.binary(max_size=200))
def test_no_answer_whatever_breaks_it(body: bytes) -> None:
    assert rows.open_answer("t", "me", body) is None


# --- hints --------------------------------------------------------------------------------------------------------


def raw(data: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(data))


@pytest.mark.parametrize(
    ("skill", "data", "branches"),
    [
        ("branch_fork", [{"id": "b-1", "name": "x"}, {"id": "b-2"}], {"b-1", "b-2"}),
        ("branch_discard", {"id": "b-1", "state": "discarded"}, {"b-1"}),
        ("branch_commit", {"branch": "b-1", "target": "b-0", "tree": "x"}, {"b-0", "b-1"}),
        ("branch_diff", [{"path": "a.py", "id": "b-1"}], set()),
        ("branch_discard", "nonsense", set()),
    ],
)
def test_what_the_hub_answers_names_the_branches_to_read(skill: str, data: Any, branches: set[str]) -> None:
    hints = Hints()
    hints.note_answer(subjects.HUB, skill, raw(data))
    assert hints.take() == Wanted(branches=branches)
    assert hints.take() == Wanted()


def test_where_no_id_is_named_the_list_is_read() -> None:
    hints = Hints()
    hints.note_answer(subjects.HUB, "box_spawn", raw({"id": "box-1"}))
    hints.note_answer(subjects.HUB, "workspace_create", raw({"id": "ws-1"}))
    assert hints.take().nouns == {"boxes", "branches"}


def test_answers_of_others_hint_at_nothing() -> None:
    hints = Hints()
    hints.note_answer("shop", "branch_fork", raw([{"id": "b-1"}]))
    assert hints.take() == Wanted()


def test_moved_tasks_are_named_by_a_hub_and_by_nobody_else() -> None:
    said = envelope.encode(envelope.make(envelope.SIGNAL, "/t/x", {"by": "h", "moved": [["task-1", ""]]}))
    hints = Hints()
    hints.note(subjects.parse(subjects.signal("t", "liar", "tasks.moved")), said)
    assert hints.take().tasks == set()
    hints.note(subjects.parse(subjects.signal("t", subjects.HUB, "tasks.moved")), said)
    assert hints.take().tasks == {"task-1"}


@given(st.binary(max_size=200))
def test_no_body_whatever_breaks_a_hint(body: bytes) -> None:
    hints = Hints()
    hints.note(subjects.parse(subjects.signal("t", subjects.HUB, "tasks.moved")), body)
    hints.note_answer(subjects.HUB, "branch_commit", msgspec.Raw(body))
    assert hints.take().nouns == set()
