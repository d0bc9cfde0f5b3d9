"""Records and bus messages as the short rows that the page shows. Pure functions."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from hub.dashboard.table import Row
from schemas import envelope
from schemas.box import LiveBox
from schemas.branch import Branch, Workspace
from schemas.errors import ErrorInfo, InvalidSubject
from schemas.node import NodeInfo
from schemas.subjects import Kind, Subject, parse
from schemas.task import Attempt, TaskRecord

_TRAFFIC_KINDS: Final[dict[Kind, str]] = {"inbox": "message", "event": "event", "signal": "signal", "report": "report"}
_FINAL: Final = frozenset({envelope.RESULT, envelope.ERROR, envelope.END})
PRESENCE: Final = "presence."
_TEXT_CHARS: Final = 500
"""What a row carries of a text that somebody else wrote."""


def box_signature(box: LiveBox) -> Hashable:
    """All of it but the heartbeat, which comes every two seconds and says nothing new."""
    return (box.instance, box.state, box.calls, box.node, box.branch, box.reason, box.owner, len(box.skills))


def box_key(box: LiveBox) -> str:
    """Several instances may share one address; each is a row."""
    return f"{box.id} {box.instance}"


def box_row(box: LiveBox) -> Row:
    """A live box; of its skills only what a table can show, as schemas are long."""
    row = box.model_dump(mode="json", exclude_defaults=True, exclude={"skills", "heartbeat_at"})
    for long in ("description", "reason"):
        if long in row:
            row[long] = row[long][:_TEXT_CHARS]
    row["skills"] = [{"name": s.name, "streaming": s.streaming, "effect": s.effect} for s in box.skills]
    return {"key": box_key(box), "state": box.state, "kind": box.kind, "isolation": box.isolation, **row}


def node_signature(node: NodeInfo) -> Hashable:
    return (node.instance, node.state, node.boxes, node.attempts, node.max_boxes, node.max_attempts, len(node.drivers))


def node_row(node: NodeInfo) -> Row:
    row = node.model_dump(mode="json", exclude={"templates", "heartbeat_at"})
    return {**row, "templates": len(node.templates)}


def task_signature(task: TaskRecord) -> Hashable:
    return (task.updated_at, task.state, task.updates, task.pending, len(task.attempts))


def task_age(task: TaskRecord) -> float:
    return task.updated_at


def task_row(task: TaskRecord) -> Row:
    """A task without what may be long: arguments, result, artifacts, metadata."""
    spec = task.spec
    row: Row = {
        "id": task.id,
        "box": spec.box,
        "skill": spec.skill,
        "state": task.state,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "updates": task.updates,
        "attempts": [_attempt(a) for a in task.attempts],
    }
    optional: Row = {
        "branch": spec.branch,
        "parent": spec.parent,
        "priority": spec.priority,
        "submitter": task.submitter,
        "pending": task.pending,
        "not_before": task.not_before,
        "error": _error(task.error),
        "cancel": task.cancel.wire() if task.cancel else None,
    }
    return row | {name: value for name, value in optional.items() if value}


def _attempt(attempt: Attempt) -> Row:
    optional: Row = {
        "box": attempt.box,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "error": _error(attempt.error),
        "stopping": _error(attempt.stopping),
    }
    return {
        "number": attempt.number,
        "runner": attempt.runner,
        "state": attempt.state,
        "assigned_at": attempt.assigned_at,
    } | {name: value for name, value in optional.items() if value}


def _error(error: ErrorInfo | None) -> Row | None:
    return {"code": error.code, "message": error.message[:_TEXT_CHARS]} if error else None


def branch_signature(branch: Branch) -> Hashable:
    return (branch.head, branch.base, branch.state, branch.ended_at, branch.committed_tree, branch.name)


def branch_row(branch: Branch) -> Row:
    return {"state": branch.state, **branch.model_dump(mode="json", exclude_defaults=True)}


def workspace_signature(workspace: Workspace) -> Hashable:
    return (workspace.name, workspace.root)


def workspace_row(workspace: Workspace) -> Row:
    return workspace.model_dump(mode="json", exclude_defaults=True)


class _Seen(msgspec.Struct):
    """The attributes of an envelope that a row shows; ``data`` stays bytes, so a long one costs a scan only."""

    id: str = ""
    type: str = ""
    source: str = ""
    subject: str = ""
    data: msgspec.Raw = msgspec.Raw()
    data_base64: msgspec.Raw = msgspec.Raw()
    dataref: str = ""
    branch: str = ""
    correlationid: str = ""
    causationid: str = ""

    def optional(self) -> Row:
        """What few messages have."""
        given = {"branch": self.branch, "causation": self.causationid, "correlation": self.correlationid}
        return {name: value for name, value in given.items() if value}


class _SeenReport(msgspec.Struct):
    kind: str = ""


_envelope: Final = msgspec.json.Decoder(_Seen)
_report: Final = msgspec.json.Decoder(_SeenReport)


def subject_of(subject: str) -> Subject | None:
    """What the subject says, ``None`` for one that is not ours."""
    try:
        return parse(subject)
    except InvalidSubject:
        return None


def traffic_row(subject: Subject, data: bytes, at: float, preview_chars: int = 200) -> Row:
    """One message as the Traffic view shows it. A body that is no envelope of ours is shown as what it is."""
    row: Row = {
        "at": round(at, 3),
        "kind": _TRAFFIC_KINDS[subject.kind],
        "sender": subject.sender,
        "to": subject.box,
        "name": subject.name,
        "id": "",
        "bytes": len(data),
        "preview": "",
    }
    try:
        seen = _envelope.decode(data)
    except msgspec.DecodeError:
        row["preview"] = "not an envelope: " + data[:preview_chars].decode("utf-8", "replace")
        return row
    row["id"] = seen.id
    row["preview"] = _preview(seen, preview_chars)
    if subject.kind == "report":
        row["to"], row["name"] = subject.name, _report_kind(seen.data)
    return row | seen.optional()


class Answer(msgspec.Struct):
    """The final answer to a call, as its caller was sent it."""

    caller: str
    box: str
    seen: _Seen
    size_bytes: int

    @property
    def skill(self) -> str:
        return self.seen.subject

    @property
    def data(self) -> msgspec.Raw:
        return self.seen.data

    def row(self, at: float, preview_chars: int = 200) -> Row:
        """The call: who asked whom, and what came of it."""
        row: Row = {
            "at": round(at, 3),
            "kind": "call",
            "sender": self.caller,
            "to": self.box,
            "name": self.skill,
            "id": self.seen.id,
            "bytes": self.size_bytes,
            "preview": _preview(self.seen, preview_chars),
        }
        if self.seen.type == envelope.ERROR:
            row["failed"] = True
        return row | self.seen.optional()


def open_answer(tenant: str, caller: str, data: bytes) -> Answer | None:
    """The answer in ``data``; ``None`` when it is another tenant's, or not the last one to its call."""
    try:
        seen = _envelope.decode(data)
    except msgspec.DecodeError:
        return None
    prefix = f"/{tenant}/"
    if seen.type not in _FINAL or not seen.source.startswith(prefix):
        return None
    return Answer(caller, seen.source.removeprefix(prefix), seen, len(data))


def _preview(seen: _Seen, chars: int) -> str:
    if seen.dataref:
        return f"blob {seen.dataref}"
    body = bytes(seen.data)
    if not body and len(bytes(seen.data_base64)) > 2:
        return f"{(len(bytes(seen.data_base64)) - 2) * 3 // 4} bytes, not text"
    # UTF-8 has at most four bytes a character; a character cut in two at the end is left out.
    text = body[: chars * 4].decode("utf-8", "ignore")
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _report_kind(data: msgspec.Raw) -> str:
    try:
        return _report.decode(data).kind
    except msgspec.DecodeError:
        return ""
