"""A branch as a box's working directory, and what changed there back to the branch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from box_agent.context.blobs import BlobClient
from box_agent.context.workspaces import WorkspaceClient
from box_agent.files.manifest import Manifest, Stamp, stamp
from box_agent.files.materialise import Materialiser
from box_agent.files.scan import Scan, scan
from box_agent.files.upload import upload
from box_agent.node.blobs import NodeBlobs
from schemas.branch import Branch


class Mount:
    """One branch in one directory. ``head`` is the tree that both had in common last."""

    def __init__(self, branch: str, directory: Path, manifest: Manifest) -> None:
        self.branch = branch
        self.directory = directory
        self.manifest = manifest
        self._apart: dict[str, Stamp] = {}

    @property
    def head(self) -> str:
        return self.manifest.tree

    def set_apart(self, paths: Iterable[str]) -> None:
        """These came from the Box's environment: unless the box changes them, they are not the branch's."""
        for path in paths:
            if path in self.manifest.known:
                continue
            try:
                self._apart[path] = stamp((self.directory / path).lstat())
            except FileNotFoundError:
                continue  # the box removed it while it was set up

    async def changed(self) -> bool:
        """Whether the directory differs now from what both had in common."""
        return (await self._scan()).tree != self.head

    async def save(self, blobs: BlobClient, workspaces: WorkspaceClient) -> bool:
        """Advance the branch to what is in the directory; false, without a word to the hub, when nothing differs.

        Raises `RevisionConflict` when the branch was advanced by somebody else, `TerminalState` when it has ended,
        `PayloadTooLarge` at a limit of what a workspace may hold.
        """
        found = await self._scan()
        if found.tree == self.head:
            return False
        await upload(found, blobs)
        await workspaces.advance(self.branch, found.tree, self.head)
        self.manifest = found.manifest
        return True

    async def _scan(self) -> Scan:
        return await asyncio.to_thread(scan, self.directory, known=self.manifest, apart=self._apart)


class Mounts:
    """Lays branches out. Blobs and trees come from this machine's cache, and from the hub the first time."""

    def __init__(self, blobs: NodeBlobs, client: BlobClient, workspaces: WorkspaceClient) -> None:
        self._materialiser = Materialiser(blobs.cache, blobs.bring)
        self._client = client
        self._workspaces = workspaces

    async def open(self, branch: str, directory: Path, head: str = "") -> Mount:
        """The branch at its head in ``directory``, which is empty. ``head``, when known, saves a question to the hub.

        Raises `BranchNotFound`, `BlobNotFound`, `PayloadTooLarge`.
        """
        if not head:
            record: Branch = await self._workspaces.branch(branch)
            head = record.head
        return Mount(branch, directory, await self._materialiser.write(head, directory))

    async def save(self, mount: Mount) -> bool:
        """See `Mount.save`."""
        return await mount.save(self._client, self._workspaces)
