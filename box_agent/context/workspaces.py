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
from schemas.branch import Branch, BranchState, CommitResult, MergePlan, OnConflict, Workspace
from schemas.ids import new_id
from schemas.tree import EMPTY_TREE, Change, wire_name

_LONG_S = 120.0


class WorkspaceClient:
    """The tenant's workspaces and their branches."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def create(self, name: str, tree: str = EMPTY_TREE, *, metadata: dict[str, Any] | None = None) -> Workspace:
        """A workspace whose root branch has ``tree``, whose blobs must be stored already."""
        return await self._hub.one(
            Workspace, "workspace_create", repeat=False, name=name, tree=tree, metadata=metadata or {}
        )

    async def import_directory(
        self, directory: Path, name: str, *, metadata: dict[str, Any] | None = None
    ) -> Workspace:
        """A workspace that starts as a copy of a local directory, caches and version control left out.

        Raises `InvalidInput` when it cannot be read, `PayloadTooLarge` at a limit, before anything was sent.
        """
        from box_agent.files.scan import scan
        from box_agent.files.upload import upload

        found = await asyncio.to_thread(scan, directory)
        await upload(found, BlobClient(self._hub))
        return await self.create(name, found.tree, metadata=metadata)

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
    ) -> List[Branch]:
        """New branches from the head of ``branch``, one per name, each with ``files`` written (``None``: deleted).

        ``ids``, one per name, makes it safe to ask again: a branch that is there already is given as it is by now.
        Raises `IdempotencyConflict` when it is another one.
        """
        names = names or [""]
        edits = {wire_name(path): _file(content) for path, content in (files or {}).items()}
        return await self._hub.many(
            Branch,
            "branch_fork",
            branch=branch,
            names=names,
            ids=ids or [new_id("branch") for _ in names],
            files=edits,
            group=group,
            metadata=metadata or {},
        )

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


def _file(content: str | bytes | None) -> Any:
    if isinstance(content, bytes):
        return {"base64": base64.b64encode(content).decode()}
    return content
