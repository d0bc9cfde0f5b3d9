"""Between A2A's protobuf and our records. States, parts and artifacts map one to one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from schemas.box import LiveBox, SkillSpec
from schemas.errors import ErrorInfo
from schemas.part import Artifact, Message, Part
from schemas.task import TaskRecord, TaskState, TaskUpdate


def state_of(state: str) -> pb.TaskState:
    """``input_required`` → ``TASK_STATE_INPUT_REQUIRED``."""
    return cast(pb.TaskState, pb.TaskState.Value(f"TASK_STATE_{state.upper()}"))


def state_name(state: pb.TaskState) -> TaskState | None:
    """The other way round; nothing for ``UNSPECIFIED``."""
    name = pb.TaskState.Name(state).removeprefix("TASK_STATE_").lower()
    return None if name == "unspecified" else cast(TaskState, name)


def part_to_pb(part: Part) -> pb.Part:
    made = pb.Part(filename=part.filename or "", media_type=part.media_type or "")
    if part.raw is not None:
        made.raw = part.raw
    elif part.url is not None:
        made.url = part.url
    elif part.blob is not None:
        made.url = f"boxhub-blob:{part.blob}"
    elif part.text is not None:
        made.text = part.text
    else:
        made.data.CopyFrom(_value(part.data))
    if part.metadata:
        made.metadata.update(part.metadata)
    return made


def part_from_pb(part: pb.Part) -> Part:
    content: dict[str, Any] = {}
    match part.WhichOneof("content"):
        case "text":
            content["text"] = part.text
        case "raw":
            content["raw"] = part.raw
        case "url":
            content["url"] = part.url
        case "data":
            content["data"] = _plain(MessageToDict(part.data))
        case _:
            raise InvalidParamsError("a part has no content")
    return Part(
        **content,
        filename=part.filename or None,
        media_type=part.media_type or None,
        metadata=_plain(MessageToDict(part.metadata)),
    )


def message_from_pb(message: pb.Message) -> Message:
    return Message(
        id=message.message_id,
        role="agent" if message.role == pb.Role.ROLE_AGENT else "user",
        parts=[part_from_pb(p) for p in message.parts],
        metadata=_plain(MessageToDict(message.metadata)),
    )


def message_to_pb(message: Message, task: str, context: str) -> pb.Message:
    made = pb.Message(
        message_id=message.id,
        task_id=task,
        context_id=context,
        role=pb.Role.ROLE_AGENT if message.role == "agent" else pb.Role.ROLE_USER,
        parts=[part_to_pb(p) for p in message.parts],
    )
    if message.metadata:
        made.metadata.update(message.metadata)
    return made


def artifact_to_pb(artifact: Artifact) -> pb.Artifact:
    return pb.Artifact(
        artifact_id=artifact.id,
        name=artifact.name,
        description=artifact.description,
        parts=[part_to_pb(p) for p in artifact.parts],
    )


def result_artifact(task: str, result: Any) -> pb.Artifact:
    """What the skill returned, as A2A wants to see it: text stays text, anything else is data."""
    part = Part(text=result) if isinstance(result, str) else Part(data=result)
    return pb.Artifact(artifact_id=f"{task}-result", name="result", parts=[part_to_pb(part)])


def artifacts_of(record: TaskRecord) -> list[pb.Artifact]:
    found = [artifact_to_pb(a) for a in record.artifacts]
    if record.state == "completed" and record.result is not None:
        found.append(result_artifact(record.id, record.result))
    return found


def status_of(record: TaskRecord) -> pb.TaskStatus:
    status = pb.TaskStatus(state=state_of(record.state))
    status.timestamp.FromDatetime(datetime.fromtimestamp(record.updated_at, UTC))
    if record.error is not None:
        status.message.CopyFrom(_says(record, record.error))
    return status


def task_to_pb(record: TaskRecord, *, history_length: int | None = None, artifacts: bool = True) -> pb.Task:
    task = pb.Task(id=record.id, context_id=context_of(record), status=status_of(record))
    if record.spec.message is not None and history_length != 0:
        task.history.append(message_to_pb(record.spec.message, record.id, context_of(record)))
    if artifacts:
        task.artifacts.extend(artifacts_of(record))
    return task


def update_to_pb(update: TaskUpdate, record: TaskRecord) -> pb.TaskStatusUpdateEvent | pb.TaskArtifactUpdateEvent:
    """One numbered update as a stream event; its number is in the metadata, so that a reader can resume."""
    context = context_of(record)
    if update.kind == "artifact":
        artifact = artifact_to_pb(Artifact.model_validate(update.data))
        event = pb.TaskArtifactUpdateEvent(
            task_id=record.id, context_id=context, artifact=artifact, append=False, last_chunk=True
        )
        event.metadata.update({"sequence": update.number})
        return event
    status = pb.TaskStatus(state=state_of(update.state or "working"))
    status.timestamp.FromDatetime(datetime.fromtimestamp(update.at, UTC))
    note = _note(update)
    if note:
        status.message.CopyFrom(
            pb.Message(
                message_id=f"{record.id}-{update.number}",
                task_id=record.id,
                context_id=context,
                role=pb.Role.ROLE_AGENT,
                parts=[pb.Part(text=note)],
            )
        )
    made = pb.TaskStatusUpdateEvent(task_id=record.id, context_id=context, status=status)
    made.metadata.update({"sequence": update.number, "kind": update.kind})
    return made


def context_of(record: TaskRecord) -> str:
    """A2A wants every task in a context; a task without one is a context of its own."""
    return record.spec.context or record.id


def skill_and_arguments(message: pb.Message, box: LiveBox) -> tuple[str, dict[str, Any]]:
    """Which skill a message asks for, and with what.

    ``message.metadata.skill`` names it; without one the box must have a single skill. A data part is the
    arguments; a text part is the skill's first argument (or JSON, when it takes none of type string).
    Raises `InvalidParamsError` that lists the skills.
    """
    metadata = _plain(MessageToDict(message.metadata))
    by_name = {s.name: s for s in box.skills}
    asked = metadata.get("skill")
    if asked is None and len(by_name) == 1:
        asked = next(iter(by_name))
    if not isinstance(asked, str) or asked not in by_name:
        names = ", ".join(sorted(by_name)) or "none"
        raise InvalidParamsError(f"say in message.metadata.skill which skill you mean; {box.id!r} has: {names}")
    arguments: dict[str, Any] = {}
    texts: list[str] = []
    for part in (part_from_pb(p) for p in message.parts):
        if part.text is not None:
            texts.append(part.text)
        elif isinstance(part.data, dict):
            arguments |= part.data
        else:
            raise InvalidParamsError("send arguments as a data part with an object, or as text")
    if texts:
        arguments |= _text_argument(by_name[asked], "\n".join(texts), arguments)
    return asked, arguments


def _text_argument(spec: SkillSpec, text: str, given: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = spec.input_schema.get("properties", {})
    free = [name for name, schema in properties.items() if name not in given and schema.get("type") == "string"]
    if free:
        return {free[0]: text}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidParamsError(f"skill {spec.name!r} takes no text: send a data part with {sorted(properties)}")
    return value


def _says(record: TaskRecord, error: ErrorInfo) -> pb.Message:
    return pb.Message(
        message_id=f"{record.id}-error",
        task_id=record.id,
        context_id=context_of(record),
        role=pb.Role.ROLE_AGENT,
        parts=[pb.Part(text=f"{error.code}: {error.message}")],
    )


def _note(update: TaskUpdate) -> str:
    if update.kind in ("progress", "log", "gap") and update.data is not None:
        return update.data if isinstance(update.data, str) else json.dumps(update.data)
    return ""


def _value(data: Any) -> Value:
    made = Value()
    ParseDict(data, made)
    return made


def _plain(data: Any) -> Any:
    """protobuf's Struct has doubles only: whole numbers become integers again."""
    if isinstance(data, float) and data.is_integer():
        return int(data)
    if isinstance(data, dict):
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_plain(v) for v in data]
    return data
