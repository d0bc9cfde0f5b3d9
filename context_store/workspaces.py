"""Workspaces: a name and a root branch, whose head is the truth about the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from context_store.backend import Collection, Records
from context_store.branches import Branches
from context_store.conversations.conversations import Conversations
from schemas.branch import Branch, Tag, Workspace
from schemas.errors import AlreadyExists, InvalidInput, RevisionConflict, WorkspaceNotFound
from schemas.ids import new_id
from schemas.model import timestamp
from schemas.tree import EMPTY_TREE

WORKSPACES: Final = Collection("workspaces", indexes=("name", "created_at"))
MAX_TAGS: Final = 1000
_MAX_NAME: Final = 200


class Workspaces:
    """The workspaces of one tenant. Names are for people and need not be unique; ids are."""

    def __init__(self, records: Records, branches: Branches, conversations: Conversations) -> None:
        self._records = records
        self._conversations = conversations
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
        """A workspace whose root branch starts at ``tree``. Raises `BlobNotFound`, `AlreadyExists` for the id.

        ``conversation``: one that is there becomes the workspace's; its id goes on to stand for it. Raises
        `ConversationNotFound`, `Conflict` when it is another workspace's.
        """
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
        root = Branch(
            id=workspace.root,
            workspace=workspace.id,
            name="main",
            base=tree,
            head=tree,
            owner=owner,
            created_at=workspace.created_at,
        )
        await self._branches.create_root(root)
        if conversation:
            await self._bind(conversation, root)
        await self._records.insert(workspace.id, workspace.model_dump(mode="json"))
        return workspace

    async def _bind(self, conversation: str, root: Branch) -> None:
        """The conversation becomes that of the root branch, which nobody knows yet."""
        while True:
            bound, revision = await self._conversations.bind(conversation, root)
            refs = self._branches.refs
            await refs.replace(await refs.read(root.id), bound)
            try:
                await self._conversations.bound(conversation, root.id, revision)
            except RevisionConflict:
                continue  # somebody said something meanwhile
            return

    async def get(self, id: str) -> Workspace:
        """Raises `WorkspaceNotFound`."""
        record = await self._records.get(id)
        if record is None:
            raise WorkspaceNotFound(f"no workspace {id!r}", workspace=id)
        return Workspace.model_validate(record.doc)

    async def tag(self, id: str, name: str, branch: str, *, by: str = "") -> Workspace:
        """Give the present files of a branch of this workspace a name that never moves; again, it is fine.

        Raises `AlreadyExists` when it names other files, `InvalidInput` for a branch of another workspace.
        """
        if not name or len(name) > _MAX_NAME:
            raise InvalidInput(f"a tag has 1 to {_MAX_NAME} characters, not {len(name)}")
        found = await self._branches.get(branch)
        if found.workspace != id:
            raise InvalidInput(f"branch {branch!r} is of workspace {found.workspace!r}", branch=branch)
        made = Tag(tree=found.head, branch=branch, at=timestamp(), by=by)

        def add(tags: dict[str, Tag]) -> dict[str, Tag]:
            if name in tags and tags[name].tree != made.tree:
                raise AlreadyExists(f"tag {name!r} names other files; remove it first", key=name)
            if name not in tags and len(tags) >= MAX_TAGS:
                raise InvalidInput(f"workspace {id!r} has {MAX_TAGS} tags, no more are allowed")
            return {name: made, **tags}

        return await self._change_tags(id, add)

    async def untag(self, id: str, name: str) -> Workspace:
        """Again, it is fine."""
        return await self._change_tags(id, lambda tags: {key: tag for key, tag in tags.items() if key != name})

    async def _change_tags(self, id: str, change: Callable[[dict[str, Tag]], dict[str, Tag]]) -> Workspace:
        while True:
            record = await self._records.get(id)
            if record is None:
                raise WorkspaceNotFound(f"no workspace {id!r}", workspace=id)
            workspace = Workspace.model_validate(record.doc)
            changed = workspace.model_copy(update={"tags": change(workspace.tags)})
            try:
                await self._records.replace(id, changed.model_dump(mode="json"), expected=record.revision)
            except RevisionConflict:
                continue
            return changed

    async def list(
        self, *, name: str | None = None, limit: int = 100, after: str | None = None, newest_first: bool = False
    ) -> list[Workspace]:
        """Up to ``limit`` workspaces in order of their ids, or the reverse; page with ``after``, the last id."""
        where = {"name": name} if name is not None else None
        order = "-key" if newest_first else "key"
        found = await self._records.find(where, after=after, limit=limit, order=order)
        return [Workspace.model_validate(record.doc) for record in found]
