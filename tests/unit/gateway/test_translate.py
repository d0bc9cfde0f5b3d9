"""A2A messages become skill arguments, task records become A2A tasks."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from hub.gateway.a2a import translate
from schemas.box import LiveBox, SkillSpec
from schemas.errors import SkillFailed
from schemas.part import Artifact, Message, Part
from schemas.task import TaskRecord, TaskSpec, TaskState, TaskUpdate

BUY = SkillSpec(
    name="buy", input_schema={"type": "object", "properties": {"kind": {"type": "string"}, "n": {"type": "integer"}}}
)
ADD = SkillSpec(name="add", input_schema={"type": "object", "properties": {"a": {"type": "integer"}}})


def _message(*parts: pb.Part, skill: str = "") -> pb.Message:
    message = pb.Message(message_id="m1", role=pb.Role.ROLE_USER, parts=list(parts))
    if skill:
        message.metadata.update({"skill": skill})
    return message


def _data(value: Any) -> pb.Part:
    return pb.Part(data=ParseDict(value, Value()))


@pytest.mark.parametrize(
    ("skills", "message", "expected"),
    [
        ([BUY], _message(pb.Part(text="latte")), ("buy", {"kind": "latte"})),
        ([BUY, ADD], _message(_data({"a": 3}), skill="add"), ("add", {"a": 3})),
        ([BUY], _message(_data({"n": 2}), pb.Part(text="mocha")), ("buy", {"kind": "mocha", "n": 2})),
        ([ADD], _message(pb.Part(text='{"a": 4}')), ("add", {"a": 4})),
    ],
)
def test_a_message_names_a_skill_and_its_arguments(skills, message, expected):
    assert translate.skill_and_arguments(message, LiveBox(id="shop", skills=skills)) == expected


@pytest.mark.parametrize(
    ("skills", "message"),
    [
        ([BUY, ADD], _message(pb.Part(text="latte"))),
        ([BUY], _message(pb.Part(text="x"), skill="sell")),
        ([], _message(pb.Part(text="x"))),
        ([ADD], _message(pb.Part(text="four"))),
        ([BUY], _message(_data([1, 2]))),
        ([BUY], _message(pb.Part(url="http://127.0.0.1/x"))),
    ],
)
def test_a_message_that_is_not_clear_is_refused(skills, message):
    with pytest.raises(InvalidParamsError):
        translate.skill_and_arguments(message, LiveBox(id="shop", skills=skills))


@pytest.mark.parametrize("state", get_args(TaskState))
def test_every_state_has_its_counterpart(state):
    assert translate.state_name(translate.state_of(state)) == state


json_objects = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=5), max_size=3
)
parts = st.one_of(
    st.builds(Part, text=st.text()),
    st.builds(Part, raw=st.binary(max_size=50)),
    st.builds(Part, url=st.text(min_size=1)),
    st.builds(Part, data=json_objects),
)


@given(st.lists(parts, max_size=4))
def test_messages_survive_the_protocol(content):
    message = Message(id="m1", role="agent", parts=content)
    assert translate.message_from_pb(translate.message_to_pb(message, "t", "c")) == message


def _record(**fields: object) -> TaskRecord:
    return TaskRecord(
        id="t1", tenant="default", spec=TaskSpec(box="shop", skill="buy"), created_at=1, updated_at=2, **fields
    )


def test_a_completed_task_carries_its_result_as_an_artifact():
    task = translate.task_to_pb(_record(state="completed", result={"cups": 2}))
    assert task.status.state == pb.TaskState.TASK_STATE_COMPLETED
    assert [a.name for a in task.artifacts] == ["result"]
    assert task.context_id == "t1"


def test_a_failed_task_says_why():
    error = SkillFailed("no beans").to_info()
    task = translate.task_to_pb(_record(state="failed", error=error))
    assert task.status.message.parts[0].text == "skill_failed: no beans"


def test_updates_carry_their_number():
    record = _record(state="working")
    progress = TaskUpdate(task="t1", number=3, at=5.0, kind="progress", state="working", data={"fraction": 0.5})
    event = translate.update_to_pb(progress, record)
    assert isinstance(event, pb.TaskStatusUpdateEvent)
    assert event.metadata["sequence"] == 3
    artifact = Artifact(name="cup", parts=[Part(text="hot")])
    event = translate.update_to_pb(
        TaskUpdate(task="t1", number=4, at=6.0, kind="artifact", data=artifact.model_dump(mode="json")), record
    )
    assert isinstance(event, pb.TaskArtifactUpdateEvent)
    assert event.artifact.parts[0].text == "hot"
