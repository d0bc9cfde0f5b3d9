"""Any sequence of forks, writes, commits and discards, on two stores over one database, does what plain dicts do."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from context_store.backend import Backend
from context_store.backends.mongodb import MongoBackend
from context_store.backends.sqlite import SqliteBackend
from context_store.blobs.directory import DirectoryBlobs
from context_store.store import ContextStore, Scope
from schemas.conversation import Turn
from schemas.errors import MergeConflict, TerminalState
from schemas.part import Part

KEYS = st.sampled_from(["a", "a/b", "é"])
VALUES = st.none() | st.integers(0, 2)
WHICH = st.integers(0, 1)
JOINED = "(joined"


@dataclass
class Line:
    """A branch as it should be."""

    id: str
    parent: Line | None
    turns: list[str] = field(default_factory=list)
    keys: dict[str, Any] = field(default_factory=dict)
    base_turns: int = 0
    base_keys: dict[str, Any] = field(default_factory=dict)
    open: bool = True


class BranchMachine(RuleBasedStateMachine):
    new_backend: Any

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        make = type(self).new_backend(Path(self.directory.name))
        self.stores = [self.runner.run(self._open(make())) for _ in range(2)]
        root = self.runner.run(self.scope(0).workspaces.create("w")).root
        self.lines = [Line(root, None)]
        self.said = 0

    async def _open(self, backend: Backend) -> ContextStore:
        return await ContextStore(backend, DirectoryBlobs(Path(self.directory.name) / "blobs")).__aenter__()

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.aclose())
        self.runner.close()
        self.directory.cleanup()

    def scope(self, which: int) -> Scope:
        return self.stores[which].tenant("default")

    def line(self, number: int) -> Line:
        return self.lines[number % len(self.lines)]

    @rule(which=WHICH, number=st.integers(0, 50))
    def fork(self, which: int, number: int) -> None:
        parent = self.line(number)
        forking = self.scope(which).branches.fork(parent.id)
        if not parent.open:
            with pytest.raises(TerminalState):
                self.runner.run(forking)
            return
        [branch] = self.runner.run(forking)
        keys = dict(parent.keys)
        self.lines.append(Line(branch.id, parent, list(parent.turns), keys, len(parent.turns), dict(keys)))

    @rule(which=WHICH, number=st.integers(0, 50), count=st.integers(1, 3))
    def say(self, which: int, number: int, count: int) -> None:
        line = self.line(number)
        texts = [f"{self.said + n}" for n in range(count)]
        self.said += count
        saying = self.scope(which).conversations.append(f"@{line.id}", [Turn(parts=[Part(text=t)]) for t in texts])
        if not line.open:
            with pytest.raises(TerminalState):
                self.runner.run(saying)
            return
        self.runner.run(saying)
        line.turns += texts

    @rule(which=WHICH, number=st.integers(0, 50), key=KEYS, value=VALUES, delete=st.booleans())
    def write(self, which: int, number: int, key: str, value: Any, delete: bool) -> None:
        line = self.line(number)
        if not line.open:
            return
        keyvalues = self.scope(which).keyvalues_on(line.id)
        if delete:
            assert self.runner.run(keyvalues.delete(key)) is (key in line.keys)
            line.keys.pop(key, None)
        else:
            self.runner.run(keyvalues.put(key, value))
            line.keys[key] = value

    @rule(which=WHICH, number=st.integers(1, 50), on_conflict=st.sampled_from(["fail", "ours", "theirs"]))
    def commit(self, which: int, number: int, on_conflict: Any) -> None:
        line = self.line(number)
        parent = line.parent
        if parent is None:
            return
        committing = self.scope(which).branches.commit(line.id, on_conflict=on_conflict)
        if not line.open or not parent.open:
            with pytest.raises(TerminalState):
                self.runner.run(committing)
            return
        merged, conflicts = merge(line.base_keys, line.keys, parent.keys, on_conflict)
        if conflicts:
            with pytest.raises(MergeConflict) as refused:
                self.runner.run(committing)
            assert refused.value.details["paths"] == sorted(f"/keys/{key}" for key in conflicts)
            return
        result = self.runner.run(committing)
        suffix = line.turns[line.base_turns :]
        assert result.turns == len(suffix)
        assert set(result.keys) >= {
            k for k in {*merged, *parent.keys} if merged.get(k, KEYS) != parent.keys.get(k, KEYS)
        }
        if suffix and len(parent.turns) > line.base_turns:
            parent.turns.append(JOINED)
        parent.turns += suffix
        parent.keys = merged
        line.open = False

    @rule(which=WHICH, number=st.integers(1, 50))
    def discard(self, which: int, number: int) -> None:
        line = self.line(number)
        if line.parent is not None and line.open:
            self.runner.run(self.scope(which).branches.discard(line.id))
            line.open = False

    @invariant()
    def everybody_sees_the_model(self) -> None:
        for number, line in enumerate(self.lines[-4:] + self.lines[:1]):
            scope = self.scope(number % 2)
            turns = self.runner.run(scope.conversations.turns(f"@{line.id}")) if line.turns else []
            assert [JOINED if t.text.startswith(JOINED) else t.text for t in turns] == line.turns
            assert [t.depth for t in turns] == list(range(1, len(turns) + 1))
            assert [t.parents[:1] for t in turns] == [[], *([t.id] for t in turns)][: len(turns)]
            entries = self.runner.run(scope.keyvalues_on(line.id).list())
            assert {e.key: e.value for e in entries} == line.keys


def merge(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], on_conflict: str) -> Any:
    """The merged key-values, and the keys nobody decided."""
    merged, conflicts = copy.copy(theirs), []
    gone = object()
    for key in {*base, *ours, *theirs}:
        b, o, t = (side.get(key, gone) for side in (base, ours, theirs))
        if o in (b, t):
            continue
        if t != b and on_conflict == "fail":
            conflicts.append(key)
        elif t == b or on_conflict == "ours":
            merged.pop(key, None)
            if o is not gone:
                merged[key] = o
    return merged, conflicts


@pytest.mark.parametrize("backend", ["sqlite", "mongodb"])
def test_model(backend, request):
    class Machine(BranchMachine):
        @staticmethod
        def new_backend(directory: Path) -> Any:
            if backend == "sqlite":
                return lambda: SqliteBackend(directory / "store.db")
            name = f"boxhub-test-{uuid4().hex[:12]}"
            url = request.getfixturevalue("mongodb_url")
            return lambda: MongoBackend(url, name)

    examples = 15 if backend == "sqlite" else 4
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
