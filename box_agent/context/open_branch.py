"""A workspace and its branches as objects: what `WorkspaceClient` does by id, with the id left out.

A branch that is used as a context manager is given up at the end of the block unless it was committed, or kept:
whatever goes wrong in between, the workspace is as it was.
"""

from __future__ import annotations

from builtins import list as List
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from box_agent.context.commits import Resolve, Validate
from schemas.branch import Branch, BranchMode, CommitResult, MergePlan, OnConflict, Tag, Workspace
from schemas.errors import InvalidInput, MergeConflict, TerminalState
from schemas.ids import new_id
from schemas.tree import Change, TreeEntry

if TYPE_CHECKING:
    from box_agent.context.workspaces import WorkspaceClient

Files = Mapping[str, str | bytes | None]
"""path → content; ``None`` deletes what is there."""


class OpenBranch:
    """One branch. ``info`` is what was last heard of it; `refresh` asks."""

    def __init__(self, client: WorkspaceClient, info: Branch) -> None:
        self._client = client
        self._kept = False
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def state(self) -> str:
        return self.info.state

    def __repr__(self) -> str:
        return f"<branch {self.name or self.id!r} {self.state}>"

    async def refresh(self) -> Branch:
        self.info = await self._client.branch(self.id)
        return self.info

    # --- files -------------------------------------------------------------------------------------------------------

    async def read(self, path: str) -> bytes:
        """Content of a file, as it is now. Raises `InvalidInput` when there is none, `BlobCorrupt`."""
        found = await self._client.find((await self.refresh()).head, path)
        if found is None or found.kind != "file":
            raise InvalidInput(f"branch {self.id!r} has no file {path!r}", path=path)
        return await self._client.content(found)

    async def ls(self, path: str = "") -> dict[str, TreeEntry]:
        """Name → entry of one directory. Raises `InvalidInput` when there is none."""
        found = await self._client.find((await self.refresh()).head, path)
        if found is None or found.kind != "dir":
            raise InvalidInput(f"branch {self.id!r} has no directory {path!r}", path=path)
        return await self._client.directory(found)

    async def write(self, files: Files) -> Branch:
        """Put files in, on top of what others did meanwhile. Raises `TerminalState`."""
        self.info = await self._client.write(self.id, files)
        return self.info

    # --- lines of work -----------------------------------------------------------------------------------------------

    async def fork(
        self, *names: str, mode: BranchMode = "join", files: Files | None = None, metadata: dict[str, Any] | None = None
    ) -> List[OpenBranch]:
        """One branch per name, all from the present files, in one call. A ``race`` ends with the first commit."""
        made = await self._client.fork(
            self.id,
            names=List(names) or [""],
            files=files,
            group=new_id("group") if mode == "race" or len(names) > 1 else "",
            mode=mode,
            metadata=metadata,
        )
        return [OpenBranch(self._client, branch) for branch in made]

    def branch(self, name: str = "", *, files: Files | None = None, metadata: dict[str, Any] | None = None) -> Fork:
        """``async with open.branch("try-1") as b``, or ``b = await open.branch("try-1")`` to end it yourself."""
        return Fork(self, name, files, metadata)

    def race(self, *names: str, files: Files | None = None, metadata: dict[str, Any] | None = None) -> Race:
        """``async with open.race("a", "b") as (a, b)``: the first that is committed ends the others."""
        return Race(self, names, files, metadata)

    # --- looking and ending ------------------------------------------------------------------------------------------

    async def diff(self) -> List[Change]:
        """What it changed since its fork."""
        return await self._client.diff(self.id)

    async def diff_text(self) -> List[dict[str, Any]]:
        return await self._client.diff_text(self.id)

    async def compare(self, other: OpenBranch | Tag | str) -> List[Change]:
        """What makes the files of this branch those of another one, of a tag, or of a tree's hash."""
        right = other.id if isinstance(other, OpenBranch) else other.tree if isinstance(other, Tag) else other
        return await self._client.compare(self.id, right)

    async def log(self, limit: int = 100) -> List[Branch]:
        """The branches that were committed into it, the last first."""
        return await self._client.log(self.id, limit)

    async def plan(self, *, on_conflict: OnConflict = "fail") -> MergePlan:
        return await self._client.plan(self.id, on_conflict=on_conflict)

    async def rebase(self, *, on_conflict: OnConflict = "fail") -> Branch:
        """Put what it changed on top of what its parent is now. Raises `MergeConflict`: then nothing was written."""
        self.info = await self._client.rebase(self.id, on_conflict=on_conflict)
        return self.info

    async def commit(
        self, *, on_conflict: OnConflict | Resolve = "fail", validate: Validate | None = None
    ) -> CommitResult:
        """Merge it into its parent, or change nothing; see `WorkspaceClient.commit`."""
        try:
            return await self._client.commit(self.id, on_conflict=on_conflict, validate=validate)
        finally:
            await self.refresh()

    async def discard(self) -> Branch:
        """Give it up; again, it is fine. Raises `TerminalState` when it ended otherwise."""
        self.info = await self._client.discard(self.id)
        return self.info

    async def tag(self, name: str) -> Tag:
        """Name its present files, for good. Raises `AlreadyExists` when the name is given to others."""
        return (await self._client.tag(self.info.workspace, name, self.id)).tags[name]

    def keep(self) -> None:
        """Leave it open at the end of its block."""
        self._kept = True

    async def leave(self) -> None:
        """What the end of its block does: give it up if it is still open and not to be kept."""
        if self._kept or self.info.state != "open":
            return
        try:
            await self.discard()
        except TerminalState:  # a task committed it, or it lost its race
            await self.refresh()


class OpenWorkspace(OpenBranch):
    """A workspace: its root branch, and the tags."""

    def __init__(self, client: WorkspaceClient, workspace: Workspace, root: Branch) -> None:
        super().__init__(client, root)
        self.workspace = workspace

    def __repr__(self) -> str:
        return f"<workspace {self.workspace.name!r} {self.workspace.id}>"

    async def branches(self, *, limit: int = 1000) -> List[OpenBranch]:
        """All there are, the newest first, whatever became of them."""
        found = await self._client.branches(self.workspace.id, limit=limit)
        return [OpenBranch(self._client, branch) for branch in found]

    async def tags(self) -> dict[str, Tag]:
        self.workspace = await self._client.get(self.workspace.id)
        return dict(self.workspace.tags)

    async def untag(self, name: str) -> None:
        """Again, it is fine."""
        self.workspace = await self._client.untag(self.workspace.id, name)

    async def join(
        self,
        branches: Sequence[OpenBranch],
        *,
        on_conflict: OnConflict | Resolve = "fail",
        validate: Validate | None = None,
    ) -> List[CommitResult]:
        """Commit divided work, in this order, each into what the ones before it made.

        Stops at the first `MergeConflict` or `ValidationFailed`, which names the branch in ``details["branch"]``: those
        before it are committed, it and those after it are open, and joining the rest goes on from there.
        """
        done: List[CommitResult] = []
        for branch in branches:
            try:
                done.append(await branch.commit(on_conflict=on_conflict, validate=validate))
            except MergeConflict as error:
                error.details.setdefault("branch", branch.id)
                raise
        await self.refresh()
        return done


class Fork:
    """A branch that is about to be made."""

    def __init__(self, parent: OpenBranch, name: str, files: Files | None, metadata: dict[str, Any] | None) -> None:
        self._parent = parent
        self._name = name
        self._files = files
        self._metadata = metadata
        self._made: OpenBranch | None = None

    async def open(self) -> OpenBranch:
        (made,) = await self._parent.fork(self._name, files=self._files, metadata=self._metadata)
        return made

    def __await__(self) -> Any:
        return self.open().__await__()

    async def __aenter__(self) -> OpenBranch:
        self._made = await self.open()
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is not None:
            await self._made.leave()


class Race:
    """Branches of which one is to be committed."""

    def __init__(
        self, parent: OpenBranch, names: Sequence[str], files: Files | None, metadata: dict[str, Any] | None
    ) -> None:
        if not names:
            raise InvalidInput("a race needs a name for each of its branches")
        self._parent = parent
        self._names = names
        self._files = files
        self._metadata = metadata
        self._made: List[OpenBranch] = []

    async def __aenter__(self) -> List[OpenBranch]:
        self._made = await self._parent.fork(*self._names, mode="race", files=self._files, metadata=self._metadata)
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for branch in self._made:
            await branch.leave()
