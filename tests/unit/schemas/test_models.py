"""Errors, ids, trees and records: round trips and refusals."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas import envelope
from schemas.box import BoxDefinition, FilesStep, PipStep, RunStep, SkillSpec
from schemas.errors import (
    ERRORS_BY_CODE,
    BoxhubError,
    ErrorInfo,
    IntegrityError,
    InvalidInput,
    error_from_info,
)
from schemas.export import MODELS, json_schema
from schemas.ids import check_name, new_id
from schemas.part import Part
from schemas.task import TaskRecord, TaskSpec
from schemas.tree import EMPTY_TREE, TreeEntry, blob_hash, decode_tree, encode_tree, split_path

names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40).filter(lambda n: n not in (".", ".."))
hashes = st.binary(max_size=8).map(blob_hash)
entries = st.builds(
    TreeEntry,
    kind=st.sampled_from(["file", "dir", "symlink"]),
    hash=hashes,
    size=st.integers(0, 2**60),
    mode=st.sampled_from([0o644, 0o755]),
)


def _classes(root: type[BoxhubError]) -> list[type[BoxhubError]]:
    """Those of the wire; another module may have some for its own use."""
    return [
        root,
        *(c for child in root.__subclasses__() if child.__module__ == root.__module__ for c in _classes(child)),
    ]


def test_every_error_has_a_code_of_its_own():
    assert len(_classes(BoxhubError)) == len(ERRORS_BY_CODE)


@pytest.mark.parametrize("kind", _classes(BoxhubError))
def test_errors_survive_the_wire_and_pickling(kind):
    error = kind("box 'a' is gone", box="a", **{"message": "a detail may have any name", "self": "even this"})
    for copy in (
        error_from_info(ErrorInfo.model_validate_json(error.to_info().model_dump_json())),
        pickle.loads(pickle.dumps(error)),
    ):
        assert type(copy) is kind
        assert (str(copy), copy.details, copy.retryable) == (str(error), error.details, kind.retryable)


def test_an_error_of_a_newer_peer_keeps_its_code():
    error = error_from_info(ErrorInfo(code="from_the_future", message="x", details={"a": 1}))
    assert type(error) is BoxhubError
    assert error.details == {"a": 1, "code": "from_the_future"}


def test_ids_are_unique_sortable_and_addresses():
    ids = [new_id("task") for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert [i[:15] for i in ids] == sorted(i[:15] for i in ids)
    assert check_name(ids[0], "id") == ids[0]


def test_a_forked_child_makes_other_ids():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, new_id("x")[-8:].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100).decode() != new_id("x")[-8:]
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("bad", ["", "A", "a.b", "-a", "_a", "a b", "a" * 64, "a\n", "*", ">", 7, None])
def test_names_that_are_refused(bad):
    with pytest.raises(InvalidInput, match="use 1-63"):
        check_name(bad, "box")


@given(st.dictionaries(names, entries, max_size=8))
def test_trees_survive_and_equal_trees_have_equal_bytes(tree):
    assert decode_tree(encode_tree(tree)) == tree
    assert encode_tree(dict(reversed(tree.items()))) == encode_tree(tree)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_tree_are_a_typed_error(data):
    with pytest.raises(IntegrityError):
        decode_tree(data)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\0b", "/".join("a" * 200)]
)
def test_paths_that_climb_are_refused(path):
    with pytest.raises(InvalidInput):
        split_path(path)


def test_names_that_are_not_utf8_are_kept():
    name = os.fsdecode(b"caf\xe9")
    tree = {name: TreeEntry(kind="file", hash=EMPTY_TREE)}
    assert decode_tree(encode_tree(tree)) == tree


def test_the_empty_tree_has_a_known_hash():
    assert blob_hash(encode_tree({})) == EMPTY_TREE


def test_a_part_has_one_content():
    with pytest.raises(ValidationError, match="one content"):
        Part(text="a", url="b")
    part = Part(raw=b"\x00\xff", filename="x.bin")
    assert Part.model_validate_json(part.model_dump_json()) == part


def test_a_definition_survives_with_its_kinds_of_steps():
    box = BoxDefinition(
        name="a",
        steps=[FilesStep(files={"x": EMPTY_TREE}), PipStep(packages=["six"]), RunStep(command="true")],
        skills=[SkillSpec(name="s", streaming=True)],
    )
    assert BoxDefinition.model_validate(box.wire()) == box


def test_a_record_from_a_newer_peer_is_read():
    spec = TaskSpec(box="b", skill="s")
    record = TaskRecord(id="t", tenant="default", spec=spec)
    assert TaskRecord.model_validate({**record.wire(), "added_in_v9": 1}) == record


def test_the_exported_schema_is_valid_and_names_every_model():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert {m.__name__ for m in MODELS} | {"Envelope"} <= schema["$defs"].keys()
    validator = Draft202012Validator({**schema, "$ref": "#/$defs/Envelope"})
    wire = json.loads(envelope.encode(envelope.make(envelope.EVENT, "/default/a", {"x": 1})))
    validator.validate(wire)
    assert not validator.is_valid({**wire, "specversion": "0.3"})
