"""Workspaces and their branches: fork, advance, diff, commit, discard."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from context_store.commits import Heads
from context_store.store import Scope
from context_store.trees import FileEdit
from hub.config import Limits
from hub.lifecycle.losers import Losers
from hub.services import bounds
from hub.services.principal import Principal
from schemas.branch import Branch, BranchMode, BranchState, CommitResult, MergePlan, OnConflict, Resolutions, Workspace
from schemas.errors import InvalidInput
from schemas.tree import EMPTY_TREE, Change, FileName, TreeEntry


class InlineFile(BaseModel):
    """A file given in the request: one of ``text``, ``base64``, and ``hash`` of a stored blob; ``mode`` if wanted."""

    model_config = ConfigDict(extra="forbid")

    base64: str | None = None
    text: str | None = None
    hash: str | None = None
    mode: int | None = None


Files = dict[FileName, str | InlineFile | None]
"""path → text, bytes, or nothing: delete what is there."""


class WorkspaceService:
    """The workspaces and branches of one tenant."""

    def __init__(self, scope: Scope, losers: Losers, principal: Principal, limits: Limits) -> None:
        self._scope = scope
        self._losers = losers
        self._principal = principal
        self._limits = limits

    # --- workspaces ------------------------------------------------------------------------------------------------

    async def workspace_create(
        self, name: str, tree: str = EMPTY_TREE, metadata: dict[str, Any] | None = None, conversation: str = ""
    ) -> Workspace:
        """A workspace whose root branch starts at a stored tree. Raises `BlobNotFound` for one that is not stored.

        ``conversation``: one that is there becomes that of the workspace, with its branches.
        """
        return await self._scope.workspaces.create(
            name, tree, owner=self._principal.owner, metadata=self._metadata(metadata), conversation=conversation
        )

    async def workspace_get(self, id: str) -> Workspace:
        """Raises `WorkspaceNotFound`."""
        return await self._scope.workspaces.get(id)

    async def workspace_list(self, limit: int = 1000) -> list[Workspace]:
        """The newest first."""
        return await self._scope.workspaces.list(
            limit=bounds.at_most(limit, self._limits.list_items), newest_first=True
        )

    async def workspace_tag(self, id: str, name: str, branch: str) -> Workspace:
        """Name the present files of a branch, for good. Raises `AlreadyExists` when the name is given."""
        return await self._scope.workspaces.tag(id, name, branch, by=self._principal.owner)

    async def workspace_untag(self, id: str, name: str) -> Workspace:
        """Take the name away; again, it is fine."""
        return await self._scope.workspaces.untag(id, name)

    # --- branches --------------------------------------------------------------------------------------------------

    async def branch_fork(
        self,
        branch: str,
        names: list[str],
        files: Files | None = None,
        group: str = "",
        metadata: dict[str, Any] | None = None,
        ids: list[str] | None = None,
        mode: BranchMode = "join",
    ) -> list[Branch]:
        """One new branch per name from the present head, with ``files`` put into each; all in one call.

        Of a ``group`` in ``mode`` race one can be committed. With ``ids``, one per name, what was made by the same call
        before is made once. Raises `BranchNotFound`, `TerminalState` when the branch has ended, `IdempotencyConflict`
        when an id is another branch's.
        """
        bounds.count(len(names), self._limits.branches_per_fork, "branches")
        for name in (*names, group):
            bounds.length(name, 200, "a name")
        return await self._scope.branches.fork(
            branch,
            names,
            ids=ids,
            files=await self._edits(files or {}),
            group=group,
            mode=mode,
            owner=self._principal.owner,
            metadata=self._metadata(metadata),
        )

    async def branch_get(self, id: str) -> Branch:
        """Raises `BranchNotFound`."""
        return await self._scope.branches.get(id)

    async def branch_list(
        self, workspace: str | None = None, state: BranchState | None = None, limit: int = 1000
    ) -> list[Branch]:
        """The newest first."""
        return await self._scope.branches.list(
            workspace=workspace,
            state=state,
            limit=bounds.at_most(limit, self._limits.list_items),
            newest_first=True,
        )

    async def branch_advance(self, branch: str, head: str, expected: str) -> Branch:
        """Move the head from ``expected`` to the stored tree ``head``. Raises `RevisionConflict`, `TerminalState`."""
        return await self._scope.branches.advance(branch, head, expected)

    async def branch_write(self, branch: str, files: Files) -> Branch:
        """Put files into the head, on top of whatever others did meanwhile."""
        return await self._scope.branches.write_files(branch, await self._edits(files))

    async def branch_diff(self, branch: str, content: bool = False) -> list[dict[str, Any]]:
        """What changed since the fork, by path; with ``content`` each change has a unified diff under ``text``."""
        if not content:
            return [change.wire() for change in await self._scope.branches.diff(branch)]
        return [{**change.wire(), "text": text} for change, text in await self._scope.branches.diff_text(branch)]

    async def branch_plan(
        self, branch: str, on_conflict: OnConflict = "fail", resolutions: Resolutions | None = None
    ) -> MergePlan:
        """What a commit would do now: the merged tree, stored but not published, or every conflict."""
        return await self._scope.branches.plan(
            branch, on_conflict=on_conflict, resolutions=self._resolutions(resolutions)
        )

    async def branch_commit(
        self,
        branch: str,
        on_conflict: OnConflict = "fail",
        resolutions: Resolutions | None = None,
        ours: str = "",
        theirs: str = "",
        our_keys: str = "",
        their_keys: str = "",
    ) -> CommitResult:
        """Merge the branch into its parent and end it. Raises `MergeConflict`: then nothing was written.

        The first of a race ends the others, and what works on them; see `CommitResult`. Raises `Superseded` for those.

        ``ours`` and ``theirs``, given together, are the heads a plan was made for: `RevisionConflict` for others.
        ``our_keys`` and ``their_keys``, likewise, are the key-values of the plan.
        """
        if bool(ours) != bool(theirs) or bool(our_keys) != bool(their_keys) or (our_keys and not ours):
            raise InvalidInput("ours and theirs (and our_keys and their_keys) are of one plan; give both or none")
        planned: Heads | None = (ours, theirs) if ours else None
        result = await self._scope.branches.commit(
            branch,
            on_conflict=on_conflict,
            resolutions=self._resolutions(resolutions),
            expected=(ours, theirs, our_keys, their_keys) if our_keys else planned,
        )
        if not result.superseded:
            return result
        stopped = await self._losers.stop(result.superseded, f"branch {branch} won the race")
        return result.model_copy(update={"cancelling": stopped.tasks, "stopped": stopped.boxes})

    async def branch_rebase(
        self, branch: str, on_conflict: OnConflict = "fail", resolutions: Resolutions | None = None
    ) -> Branch:
        """Put its changes on top of what its parent is now. Raises `MergeConflict`: then nothing was written."""
        return await self._scope.branches.rebase(
            branch, on_conflict=on_conflict, resolutions=self._resolutions(resolutions)
        )

    async def branch_compare(self, left: str, right: str) -> list[Change]:
        """What makes the files of ``left`` those of ``right``; each is a branch or the hash of a stored tree."""
        return await self._scope.branches.compare(left, right)

    async def branch_log(self, branch: str, limit: int = 100) -> list[Branch]:
        """The branches that were committed into this one, the last first."""
        return await self._scope.branches.log(branch, bounds.at_most(limit, self._limits.list_items))

    async def branch_discard(self, branch: str, state: Literal["discarded", "superseded"] = "discarded") -> Branch:
        """End the branch without effect on its parent; again, it is fine. Raises `TerminalState`."""
        return await self._scope.branches.discard(branch, state)

    # -------------------------------------------------------------------------------------------------------------

    def _resolutions(self, resolutions: Resolutions | None) -> Resolutions:
        bounds.count(sum(map(len, (resolutions or {}).values())), self._limits.list_items, "resolutions")
        return resolutions or {}

    def _metadata(self, metadata: dict[str, Any] | None) -> dict[str, Any]:
        bounds.json_size(metadata or {}, self._limits.metadata_bytes, "metadata")
        return metadata or {}

    async def _edits(self, files: Files) -> Mapping[str, FileEdit]:
        bounds.count(len(files), self._limits.files_per_fork, "files")
        return {path: await self._edit(path, given) for path, given in files.items()}

    async def _edit(self, path: str, given: str | InlineFile | None) -> FileEdit:
        if given is None:
            return None
        if isinstance(given, str):
            given = InlineFile(text=given)
        if [given.base64, given.text, given.hash].count(None) != 2:
            raise InvalidInput(f"file {path[:200]!r}: give one of text, base64 and hash")
        if given.hash is not None:
            size = await self._scope.blobs.size(given.hash)
            return TreeEntry(
                kind="file", hash=given.hash, size=size, mode=0o755 if (given.mode or 0) & 0o111 else 0o644
            )
        data = _bytes(path, given)
        bounds.bytes_of(len(data), self._limits.file_bytes, f"file {path[:200]!r}")
        return data if given.mode is None else (data, given.mode)


def _bytes(path: str, given: InlineFile) -> bytes:
    try:
        if given.text is not None:
            return given.text.encode()
        return base64.b64decode(given.base64 or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"file {path[:200]!r}: {error}") from error
