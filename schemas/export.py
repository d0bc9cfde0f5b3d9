"""All wire models as one JSON Schema document, for programs in other languages."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic.json_schema import models_json_schema

from schemas.box import BoxDefinition, LiveBox, SpawnRequest
from schemas.branch import Branch, CommitResult, Workspace
from schemas.conversation import Conversation, Turn
from schemas.deadletter import DeadLetter
from schemas.envelope import Envelope
from schemas.errors import ErrorInfo
from schemas.keyvalue import Entry
from schemas.model import Model
from schemas.node import NodeInfo
from schemas.task import Assignment, Report, TaskRecord, TaskSpec, TaskUpdate
from schemas.tree import Change

MODELS: tuple[type[Model | ErrorInfo], ...] = (
    Assignment, Branch, BoxDefinition, Change, CommitResult, Conversation, DeadLetter, Entry, ErrorInfo, LiveBox,
    NodeInfo, Report, SpawnRequest, TaskRecord, TaskSpec, TaskUpdate, Turn, Workspace,
)  # fmt: skip


def json_schema() -> dict[str, Any]:
    """A 2020-12 schema whose ``$defs`` has every wire model by name, `Envelope` included."""
    _, document = models_json_schema([(m, "validation") for m in MODELS], ref_template="#/$defs/{model}")
    (_, parts) = msgspec.json.schema_components([Envelope], ref_template="#/$defs/{name}")
    definitions = {**document["$defs"], **parts}
    definitions["Envelope"]["properties"]["specversion"] = {"const": "1.0"}
    definitions["Envelope"]["required"] = ["specversion", "id", "source", "type"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "boxhub",
        "$defs": definitions,
    }
