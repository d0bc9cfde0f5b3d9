"""Branchable file trees: workspaces, branches, diff and commit."""

from __future__ import annotations

import asyncio
import base64
from builtins import list as List
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from box_agent.context.blobs import BlobClient
from box_agent.context.commits import Committer, Resolve, Validate
from box_agent.context.hub import Hub
from box_agent.context.open_branch import OpenWorkspace
from schemas.branch import Branch, BranchMode, BranchState, CommitResult, MergePlan, OnConflict, Workspace
from schemas.errors import InvalidInput, WorkspaceNotFound
from schemas.ids import new_id
from schemas.tree import EMPTY_TREE, Change, TreeEntry, decode_tree, wire_name

_LONG_S = 120.0


class WorkspaceClient:
    """The tenant's workspaces and their branches."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._blobs = BlobClient(hub)

    async def open(self, workspace: str, *, create: bool = False) -> OpenWorkspace:
        """The workspace of this id or, if there is exactly one, of this name; with ``create`` made if there is none.

        Raises `WorkspaceNotFound`, `InvalidInput` when several have the name.
        """
        named = [found for found in await self.list() if workspace in (found.id, found.name)]
        exact = [found for found in named if found.id == workspace] or named
        if len(exact) > 1:
            raise InvalidInput(f"{len(exact)} workspaces are named {workspace!r}; open one by its id")
        if not exact and not create:
            raise WorkspaceNotFound(f"no workspace {workspace!r}", workspace=workspace)
        found = exact[0] if exact else await self.create(workspace)
        return OpenWorkspace(self, found, await self.branch(found.root))

    async def create(
        self, name: str, tree: str = EMPTY_TREE, *, metadata: dict[str, Any] | None = None, conversation: str = ""
    ) -> Workspace:
        """A workspace whose root branch has ``tree``, whose blobs must be stored already.

        ``conversation``: one that is there becomes the workspace's, and is branched with it; its id then stands for
        that of the root branch. Raises `Conflict` when it is another workspace's.
        """
        asked: dict[str, Any] = {"name": name, "tree": tree, "metadata": metadata or {}, "conversation": conversation}
        return await self._hub.one(Workspace, "workspace_create", repeat=False, **asked)

    async def import_directory(
        self, directory: Path, name: str, *, metadata: dict[str, Any] | None = None, conversation: str = ""
    ) -> Workspace:
        """A workspace that starts as a copy of a local directory, caches and version control left out; see `create`.

        Raises `InvalidInput` when it cannot be read, `PayloadTooLarge` at a limit, before anything was sent.
        """
        from box_agent.files.scan import scan
        from box_agent.files.upload import upload

        found = await asyncio.to_thread(scan, directory)
        await upload(found, BlobClient(self._hub))
        return await self.create(name, found.tree, metadata=metadata, conversation=conversation)

    async def get(self, id: str) -> Workspace:
        """Raises `WorkspaceNotFound`."""
        return await self._hub.one(Workspace, "workspace_get", id=id)

    async def list(self) -> List[Workspace]:
        return await self._hub.many(Workspace, "workspace_list")

    async def fork(
        self,
        branch: str,
        *,
        names: List[str] | None = None,
        files: Mapping[str, str | bytes | None] | None = None,
        group: str = "",
        metadata: dict[str, Any] | None = None,
        ids: List[str] | None = None,
        mode: BranchMode = "join",
    ) -> List[Branch]:
        """New branches from the head of ``branch``, one per name, each with ``files`` written (``None``: deleted).

        ``ids``, one per name, makes it safe to ask again: a branch that is there already is given as it is by now.
        Raises `IdempotencyConflict` when it is another one. Of the branches of one ``group`` in ``mode`` race the
        first commit wins: the others are superseded, and what works on them is ended.
        """
        names = names or [""]
        return await self._hub.many(
            Branch,
            "branch_fork",
            branch=branch,
            names=names,
            ids=ids or [new_id("branch") for _ in names],
            files=_edits(files or {}),
            group=group,
            mode=mode,
            metadata=metadata or {},
        )

    async def write(self, branch: str, files: Mapping[str, str | bytes | None]) -> Branch:
        """Put files in (``None``: delete), on top of whatever others did meanwhile. Raises `TerminalState`."""
        return await self._hub.one(Branch, "branch_write", branch=branch, files=_edits(files))

    async def branch(self, id: str) -> Branch:
        """Raises `BranchNotFound`."""
        return await self._hub.one(Branch, "branch_get", id=id)

    async def branches(
        self, workspace: str | None = None, *, state: BranchState | None = None, limit: int = 100
    ) -> List[Branch]:
        return await self._hub.many(Branch, "branch_list", workspace=workspace, state=state, limit=limit)

    async def advance(self, branch: str, head: str, expected: str) -> Branch:
        """Move the head to another tree. Raises `RevisionConflict` when it is not ``expected`` any more."""
        return await self._hub.one(Branch, "branch_advance", branch=branch, head=head, expected=expected)

    async def diff(self, branch: str) -> List[Change]:
        """What the branch changed since its base."""
        return await self._hub.many(Change, "branch_diff", branch=branch)

    async def diff_text(self, branch: str) -> List[dict[str, Any]]:
        """`diff` as plain dicts, with a unified diff of each text file under ``text``."""
        rows: List[dict[str, Any]] = await self._hub.call("branch_diff", branch=branch, content=True)
        return rows

    async def compare(self, left: str, right: str) -> List[Change]:
        """What makes the files of ``left`` those of ``right``: branches, or hashes of trees."""
        return await self._hub.many(Change, "branch_compare", left=left, right=right)

    async def log(self, branch: str, limit: int = 100) -> List[Branch]:
        """The branches that were committed into this one, the last first."""
        return await self._hub.many(Branch, "branch_log", branch=branch, limit=limit)

    async def rebase(self, branch: str, *, on_conflict: OnConflict = "fail") -> Branch:
        """Put its changes on top of what its parent is now. Raises `MergeConflict`: then nothing was written."""
        return await self._hub.one(Branch, "branch_rebase", timeout_s=_LONG_S, branch=branch, on_conflict=on_conflict)

    async def tag(self, workspace: str, name: str, branch: str) -> Workspace:
        """Name the present files of a branch, for good. Raises `AlreadyExists` when the name is given to others."""
        return await self._hub.one(Workspace, "workspace_tag", id=workspace, name=name, branch=branch)

    async def untag(self, workspace: str, name: str) -> Workspace:
        """Take the name away; again, it is fine."""
        return await self._hub.one(Workspace, "workspace_untag", id=workspace, name=name)

    async def find(self, tree: str, path: str) -> TreeEntry | None:
        """What is at a path of a stored tree; the tree itself for an empty one."""
        entry: TreeEntry | None = TreeEntry(kind="dir", hash=tree)
        for name in path.split("/") if path else ():
            if entry is None or entry.kind != "dir":
                return None
            entry = (await self.directory(entry)).get(name)
        return entry

    async def directory(self, entry: TreeEntry) -> dict[str, TreeEntry]:
        """Name → entry of a stored directory."""
        return decode_tree(await self._blobs.get(entry.hash))

    async def content(self, entry: TreeEntry) -> bytes:
        """Of a stored file. Raises `BlobCorrupt`."""
        return await self._blobs.get(entry.hash)

    async def plan(self, branch: str, *, on_conflict: OnConflict = "fail") -> MergePlan:
        """What a commit would do now: the merged tree, stored but not published, or all its conflicts."""
        return await self._hub.one(MergePlan, "branch_plan", timeout_s=_LONG_S, branch=branch, on_conflict=on_conflict)

    async def commit(
        self, branch: str, *, on_conflict: OnConflict | Resolve = "fail", validate: Validate | None = None
    ) -> CommitResult:
        """Merge it into its parent, or change nothing. Raises `MergeConflict`, `TerminalState`.

        A callable ``on_conflict`` is given each conflict with its contents (`Disputed`), ``validate`` a directory with
        the merged files; both run here, plain functions in a thread, again when the branch or its parent moved
        meanwhile (`Conflict` after 20 times). A validator that raises or returns False is `ValidationFailed`.
        """
        if callable(on_conflict) or validate is not None:
            return await Committer(self._hub).commit(branch, on_conflict, validate)
        return await self._hub.one(
            CommitResult, "branch_commit", timeout_s=_LONG_S, repeat=False, branch=branch, on_conflict=on_conflict
        )

    async def discard(self, branch: str, *, state: Literal["discarded", "superseded"] = "discarded") -> Branch:
        return await self._hub.one(Branch, "branch_discard", branch=branch, state=state)


def _edits(files: Mapping[str, str | bytes | None]) -> dict[str, Any]:
    return {wire_name(path): _file(content) for path, content in files.items()}


def _file(content: str | bytes | None) -> Any:
    if isinstance(content, bytes):
        return {"base64": base64.b64encode(content).decode()}
    return content
