"""Workspaces: a name and a root branch, whose head is the truth about the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from context_store.backend import Collection, Records
from context_store.branches import Branches
from schemas.branch import Branch, Workspace
from schemas.errors import AlreadyExists, InvalidInput, WorkspaceNotFound
from schemas.ids import new_id
from schemas.model import timestamp
from schemas.tree import EMPTY_TREE

WORKSPACES: Final = Collection("workspaces", indexes=("name", "created_at"))
_MAX_NAME: Final = 200


class Workspaces:
    """The workspaces of one tenant. Names are for people and need not be unique; ids are."""

    def __init__(self, records: Records, branches: Branches) -> None:
        self._records = records
        self._branches = branches

    async def create(
        self,
        name: str,
        tree: str = EMPTY_TREE,
        *,
        id: str | None = None,
        owner: str = "",
        conversation: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Workspace:
        """A workspace whose root branch starts at ``tree``. Raises `BlobNotFound`, `AlreadyExists` for the id."""
        if not name or len(name) > _MAX_NAME:
            raise InvalidInput(f"a workspace name has 1 to {_MAX_NAME} characters, not {len(name)}")
        workspace = Workspace(
            id=id or new_id("ws"),
            name=name,
            root=new_id("branch"),
            owner=owner,
            created_at=timestamp(),
            metadata=dict(metadata or {}),
        )
        if id is not None and await self._records.get(id) is not None:
            raise AlreadyExists(f"workspace {id!r} is already stored", key=id)
        # The root first: a workspace that can be seen has one. Killed in between, an unused branch stays.
        await self._branches.create_root(
            Branch(
                id=workspace.root,
                workspace=workspace.id,
                name="main",
                base=tree,
                head=tree,
                owner=owner,
                conversation=conversation,
                created_at=workspace.created_at,
            )
        )
        await self._records.insert(workspace.id, workspace.model_dump(mode="json"))
        return workspace

    async def get(self, id: str) -> Workspace:
        """Raises `WorkspaceNotFound`."""
        record = await self._records.get(id)
        if record is None:
            raise WorkspaceNotFound(f"no workspace {id!r}", workspace=id)
        return Workspace.model_validate(record.doc)

    async def list(
        self, *, name: str | None = None, limit: int = 100, after: str | None = None, newest_first: bool = False
    ) -> list[Workspace]:
        """Up to ``limit`` workspaces in order of their ids, or the reverse; page with ``after``, the last id."""
        where = {"name": name} if name is not None else None
        order = "-key" if newest_first else "key"
        found = await self._records.find(where, after=after, limit=limit, order=order)
        return [Workspace.model_validate(record.doc) for record in found]
