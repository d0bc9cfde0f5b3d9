"""Commits that the caller decides on: conflicts settled by a function, the merged files checked before they count.

Both run here, at the caller, and nothing is locked meanwhile. The hub says what a commit would do (`MergePlan`), the
caller looks at it, and the commit names the two heads the plan was made for: if either has moved, the hub refuses it,
and all of it is done again with the new plan.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from box_agent.context.blobs import BlobClient
from box_agent.context.hub import Hub
from schemas.branch import CommitResult, MergePlan, OnConflict, Resolutions
from schemas.errors import BoxhubError, Conflict, InvalidInput, RevisionConflict, ValidationFailed
from schemas.tree import Conflict as PathConflict
from schemas.tree import TreeEntry, wire_name

LARGE_BYTES: Final = 16 * 1024 * 1024
_ROUNDS: Final = 20
_LONG_S: Final = 120.0
_PARALLEL: Final = 8


@dataclass(frozen=True)
class Disputed:
    """One conflict with what each side has there.

    ``None`` where it has no file: then, and for a file above 16 MiB, ``conflict`` says what there is.
    """

    conflict: PathConflict
    base: bytes | None
    ours: bytes | None
    theirs: bytes | None

    @property
    def path(self) -> str:
        return self.conflict.path


Content = bytes | str | TreeEntry | None
Answer = Content | Mapping[str, Content]
Resolve = Callable[[Disputed], Answer | Awaitable[Answer]]
"""What shall be at the path: bytes; ``"ours"`` or ``"theirs"``; a stored entry; ``None`` for nothing. Or a mapping,
path → one of these, to put it elsewhere or in several places."""

Validate = Callable[[Path], Any]
"""Given a directory with the merged files; refuses them by raising, or by returning False."""


class Committer:
    """Commits of one agent's calls to the hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._blobs = BlobClient(hub)

    async def commit(self, branch: str, on_conflict: OnConflict | Resolve, validate: Validate | None) -> CommitResult:
        """Raises what `WorkspaceClient.commit` says. Cancelled, it happened or it did not."""
        async with AsyncExitStack() as exits:
            files = _Files(self._blobs, exits) if validate is not None else None
            for _ in range(_ROUNDS):
                try:
                    return await self._round(branch, on_conflict, validate, files)
                except RevisionConflict:
                    continue  # somebody was faster: what was decided and checked is not what would be committed
        raise Conflict(f"branch {branch!r} or its parent moved during each of {_ROUNDS} commits", branch=branch)

    async def _round(
        self, branch: str, on_conflict: OnConflict | Resolve, validate: Validate | None, files: _Files | None
    ) -> CommitResult:
        asked: dict[str, Any] = {"branch": branch, "on_conflict": "fail" if callable(on_conflict) else on_conflict}
        plan = await self._plan(asked)
        if plan.conflicts and callable(on_conflict):
            asked["resolutions"] = {
                wire_name(path): {wire_name(at): entry.wire() if entry else None for at, entry in answer.items()}
                for path, answer in (await self._resolved(plan, on_conflict)).items()
            }
            plan = await self._same(plan, asked)
        if validate is not None and files is not None and plan.tree:
            await _check(validate, await files.write(plan.tree), plan)
        asked |= {"ours": plan.ours, "theirs": plan.theirs, "our_keys": plan.our_keys, "their_keys": plan.their_keys}
        return await self._hub.one(CommitResult, "branch_commit", timeout_s=_LONG_S, repeat=False, **asked)

    async def _plan(self, asked: dict[str, Any]) -> MergePlan:
        return await self._hub.one(MergePlan, "branch_plan", timeout_s=_LONG_S, **asked)

    async def _same(self, seen: MergePlan, asked: dict[str, Any]) -> MergePlan:
        """The plan with the answers in it, if they were given for the heads as they still are."""
        plan = await self._plan(asked)
        if _planned_for(plan) != _planned_for(seen):
            raise RevisionConflict(f"branch {plan.branch!r} or its parent moved", branch=plan.branch)
        return plan

    async def _resolved(self, plan: MergePlan, resolve: Resolve) -> Resolutions:
        answers: Resolutions = {}
        for conflict in plan.conflicts:
            sides = [await self._content(side) for side in (conflict.base, conflict.ours, conflict.theirs)]
            answer = await _call(resolve, Disputed(conflict, *sides))
            given = answer if isinstance(answer, Mapping) else {conflict.path: answer}
            found: dict[str, TreeEntry | None] = {}
            for path, content in given.items():
                found.update(await self._entries(conflict, path, content))
            answers[conflict.path] = found
        return answers

    async def _entries(self, conflict: PathConflict, path: str, content: Content) -> dict[str, TreeEntry | None]:
        if content == "ours":
            return {path: conflict.ours}
        if content == "theirs":  # under the name they gave it
            elsewhere = path == conflict.path and conflict.kind == "rename_rename" and conflict.theirs_path
            return {elsewhere or path: conflict.theirs}
        if isinstance(content, str):
            raise InvalidInput(f"{path!r} was resolved with {content[:40]!r}: give bytes, 'ours' or 'theirs'")
        if not isinstance(content, bytes):
            return {path: content}
        sides = (conflict.ours, conflict.theirs, conflict.base)
        mode = next((side.mode for side in sides if side is not None and side.kind == "file"), 0o644)
        return {path: TreeEntry(kind="file", hash=await self._blobs.put(content), size=len(content), mode=mode)}

    async def _content(self, entry: TreeEntry | None) -> bytes | None:
        if entry is None or entry.kind == "dir" or entry.size > LARGE_BYTES:
            return None
        return await self._blobs.get(entry.hash)


def _planned_for(plan: MergePlan) -> tuple[str, str, str, str]:
    return plan.ours, plan.theirs, plan.our_keys, plan.their_keys


class _Files:
    """Trees as directories, in a temporary one; what a second tree has in common with the first is not sent again."""

    def __init__(self, blobs: BlobClient, exits: AsyncExitStack) -> None:
        self._blobs = blobs
        self._top = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="boxhub-commit-")))
        self._number = 0

    async def write(self, tree: str) -> Path:
        from box_agent.files.cache import BlobCache
        from box_agent.files.materialise import Materialiser

        self._number += 1
        directory = self._top / f"merged-{self._number}"
        await Materialiser(BlobCache(self._top / "blobs"), self._fetch).write(tree, directory)
        return directory

    async def _fetch(self, digests: list[str]) -> dict[str, bytes]:
        slots = asyncio.Semaphore(_PARALLEL)
        found: dict[str, bytes] = {}

        async def one(digest: str) -> None:
            async with slots:
                found[digest] = await self._blobs.get(digest)

        async with asyncio.TaskGroup() as group:
            for digest in digests:
                group.create_task(one(digest))
        return found


async def _check(validate: Validate, directory: Path, plan: MergePlan) -> None:
    try:
        accepted = await _call(validate, directory)
    except BoxhubError:
        raise
    except Exception as error:
        raise _refused(plan, f"the validator raised {type(error).__name__}: {error}") from error
    if accepted is False:
        raise _refused(plan, "the validator returned False")


def _refused(plan: MergePlan, why: str) -> ValidationFailed:
    return ValidationFailed(
        f"branch {plan.branch!r} was not committed: {why}", branch=plan.branch, target=plan.target, tree=plan.tree
    )


async def _call(function: Callable[[Any], Any], argument: Any) -> Any:
    """A plain function runs in a thread: it may take as long as a test suite does."""
    if inspect.iscoroutinefunction(function):
        return await function(argument)
    result = await asyncio.to_thread(function, argument)
    return await result if inspect.isawaitable(result) else result
