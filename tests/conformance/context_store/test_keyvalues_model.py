"""Any sequence of key-value verbs does what a dict with revisions does, on two stores over one database."""

from __future__ import annotations

import asyncio
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
from context_store.keyvalues import KeyValues
from context_store.store import ContextStore
from schemas.errors import RevisionConflict

KEYS = st.sampled_from(["a", "a/b", "é", "z"])
VALUES = st.none() | st.integers(0, 3) | st.lists(st.text(max_size=3), max_size=2)


class KeyValueMachine(RuleBasedStateMachine):
    """``model``: key → (value, revision, expires_at); ``highest``: the highest revision each key ever had."""

    new_backend: Any

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.now = 1000.0
        self.model: dict[str, tuple[Any, int, float | None]] = {}
        self.highest: dict[str, int] = {}
        make = type(self).new_backend(Path(self.directory.name))
        self.stores = [self.runner.run(self._open(make())) for _ in range(2)]

    async def _open(self, backend: Backend) -> ContextStore:
        blobs = DirectoryBlobs(Path(self.directory.name) / "blobs")
        return await ContextStore(backend, blobs, clock=lambda: self.now).__aenter__()

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.aclose())
        self.runner.close()
        self.directory.cleanup()

    def keyvalues(self, which: int) -> KeyValues:
        return self.stores[which].tenant("default").keyvalues

    def alive(self, key: str) -> int:
        """The revision the key has now, 0 if it is not there."""
        value = self.model.get(key)
        return value[1] if value is not None and (value[2] is None or value[2] > self.now) else 0

    @rule(which=st.integers(0, 1), key=KEYS, value=VALUES, ttl=st.none() | st.integers(1, 5), expect=st.integers(-1, 2))
    def put(self, which: int, key: str, value: Any, ttl: int | None, expect: int) -> None:
        present = self.alive(key)
        expected = None if expect == 2 else max(0, present + expect)
        put = self.keyvalues(which).put(key, value, expected_revision=expected, ttl_s=ttl)
        if expected not in (None, present):
            with pytest.raises(RevisionConflict) as conflict:
                self.runner.run(put)
            assert conflict.value.details["actual"] == present
            return
        entry = self.runner.run(put)
        assert entry.revision > self.highest.get(key, 0)
        self.highest[key] = entry.revision
        self.model[key] = (value, entry.revision, None if ttl is None else self.now + ttl)

    @rule(which=st.integers(0, 1), key=KEYS, right=st.booleans())
    def delete(self, which: int, key: str, right: bool) -> None:
        present = self.alive(key)
        deleting = self.keyvalues(which).delete(key, expected_revision=None if right else present + 1)
        if not right:
            with pytest.raises(RevisionConflict):
                self.runner.run(deleting)
            return
        assert self.runner.run(deleting) is (present != 0)
        self.model.pop(key, None)

    @rule(seconds=st.integers(1, 6))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 1), age=st.integers(0, 5))
    def purge(self, which: int, age: int) -> None:
        self.runner.run(self.keyvalues(which).purge(older_than_s=age))

    @invariant()
    def both_stores_agree_with_the_model(self) -> None:
        expected = [(k, self.model[k][0], self.model[k][1]) for k in sorted(self.model) if self.alive(k)]
        for which in range(2):
            entries = self.runner.run(self.keyvalues(which).list())
            assert [(e.key, e.value, e.revision) for e in entries] == expected
        for key in ("a", "é"):
            entry = self.runner.run(self.keyvalues(0).get(key))
            assert (entry.revision if entry else 0) == self.alive(key)


@pytest.mark.parametrize("backend", ["sqlite", "mongodb"])
def test_model(backend, request):
    class Machine(KeyValueMachine):
        @staticmethod
        def new_backend(directory: Path) -> Any:
            if backend == "sqlite":
                return lambda: SqliteBackend(directory / "store.db")
            name = f"boxhub-test-{uuid4().hex[:12]}"
            url = request.getfixturevalue("mongodb_url")
            return lambda: MongoBackend(url, name)

    run_state_machine_as_test(Machine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
