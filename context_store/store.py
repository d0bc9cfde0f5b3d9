"""`ContextStore`: a backend and a blob store, opened together; `Scope`: one tenant of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Self

from context_store.backend import Backend, Collection, Records
from context_store.blobs.port import BlobStore
from context_store.branch_keyvalues import BranchKeyValues, KeyValuesOfBranches
from context_store.branch_records import BRANCHES
from context_store.branches import Branches
from context_store.conversations.conversations import CONVERSATIONS, Conversations
from context_store.conversations.turn_log import BATCHES, TURN_INDEX, TurnLog
from context_store.keyvalues import FLOORS, KEYVALUES, KeyValues
from context_store.trees import Trees
from context_store.wakeups import Wakeups
from context_store.workspaces import WORKSPACES, Workspaces
from schemas.errors import InvalidInput, StoreUnavailable
from schemas.ids import check_name

_OWN: Final = frozenset(c.name for c in (BATCHES, BRANCHES, CONVERSATIONS, FLOORS, KEYVALUES, TURN_INDEX, WORKSPACES))


class Scope:
    """Everything of one tenant. Cheap; `ContextStore.tenant` gives the same one each time."""

    def __init__(
        self, tenant: str, backend: Backend, blobs: BlobStore, clock: Callable[[], float], poll_s: float
    ) -> None:
        self.tenant = tenant
        self._backend = backend
        self.wakeups = Wakeups()
        self.blobs = blobs.tenant(tenant)
        self.trees = Trees(self.blobs)
        log = TurnLog(self._own(BATCHES), self._own(TURN_INDEX))
        self.branches = Branches(self._own(BRANCHES), self.trees, log)
        self.conversations = Conversations(self._own(CONVERSATIONS), log, self.branches.refs)
        self.workspaces = Workspaces(self._own(WORKSPACES), self.branches, self.conversations)
        self.keyvalues = KeyValues(
            self._own(KEYVALUES), self._own(FLOORS), self.wakeups, backend.changes, clock=clock, poll_s=poll_s
        )
        self._on_branches = KeyValuesOfBranches(
            self.branches.refs, self.trees, self.wakeups, backend.changes, clock=clock, poll_s=poll_s
        )

    def keyvalues_on(self, branch: str) -> BranchKeyValues:
        """The key-values of one branch, seen there and, once committed, in its parent. Does no I/O."""
        return self._on_branches.of(branch)

    def records(self, collection: Collection) -> Records:
        """Raw records of a collection of the caller's own. Raises `InvalidInput` for a name that is used here."""
        if collection.name in _OWN:
            raise InvalidInput(f"the collection {collection.name!r} belongs to the context store; choose another name")
        return self._own(collection)

    def _own(self, collection: Collection) -> Records:
        return self._backend.records(self.tenant, collection)


class ContextStore:
    """The context manager of one process.

    Opens and closes backend and blobs; closing ends the watches. ``poll_s``: how long a change made by another
    process may take to reach a watch of this one.
    """

    def __init__(
        self, backend: Backend, blobs: BlobStore, *, poll_s: float = 1.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._backend = backend
        self._blobs = blobs
        self._poll_s = poll_s
        self._clock = clock
        self._scopes: dict[str, Scope] = {}
        self._exits = AsyncExitStack()
        self._closed = False

    def tenant(self, tenant: str = "default") -> Scope:
        """The scope of one tenant. Raises `InvalidInput` for a bad name, `StoreUnavailable` once closed."""
        if self._closed:
            raise StoreUnavailable("the context store is closed")
        if tenant not in self._scopes:
            check_name(tenant, "tenant")
            self._scopes[tenant] = Scope(tenant, self._backend, self._blobs, self._clock, self._poll_s)
        return self._scopes[tenant]

    async def ping(self) -> None:
        """Return when the database answers. Raises `StoreUnavailable`."""
        await self._backend.ping()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._backend)
            await exits.enter_async_context(self._blobs)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the watches, let running operations end, close the database. May be called twice."""
        self._closed = True
        for scope in self._scopes.values():
            scope.wakeups.close()
        await self._exits.aclose()
