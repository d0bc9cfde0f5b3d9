"""A directory as a tree: hashes of everything in it, and where the bytes of each hash are.

Symbolic links are kept as links and never followed, also when somebody swaps a directory for a link while we look:
every directory is entered by descriptor with ``O_NOFOLLOW``. Sockets, pipes and devices are left out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from box_agent.files.ignore import ignored
from box_agent.files.limits import Count, TreeLimits
from box_agent.files.manifest import Manifest, Stamp, stamp
from schemas.errors import InvalidInput
from schemas.tree import TreeEntry, blob_hash, encode_tree

_CHUNK: Final = 1 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Scan:
    """The outcome. ``blobs`` has only what ``known`` did not: hash → bytes (trees, links) or the file to read."""

    tree: str
    manifest: Manifest
    blobs: dict[str, bytes | Path] = field(default_factory=dict)
    files: int = 0
    total_bytes: int = 0


def scan(
    directory: Path,
    *,
    known: Manifest | None = None,
    limits: TreeLimits | None = None,
    apart: Mapping[str, Stamp] | None = None,
) -> Scan:
    """Reads ``directory``; files whose stamp is in ``known`` are not read again. Blocking; run it in a thread.

    What is in ``apart`` (path → stamp) is left out as long as it is unchanged, and a directory with nothing else in
    it likewise: files that others put there, which are not part of the tree.

    Raises `InvalidInput` when it is no directory or cannot be read, `PayloadTooLarge` at the first limit met.
    """
    scanner = _Scanner(Path(directory), known, limits or TreeLimits(), apart or {})
    try:
        root = os.open(directory, _DIRECTORY & ~os.O_NOFOLLOW)
    except OSError as error:
        raise InvalidInput(f"{directory}: {error.strerror}; give a directory that can be read") from error
    try:
        tree = scanner.directory(root, "", 0)[0]
    except OSError as error:
        raise InvalidInput(f"{error.filename or directory}: {error.strerror}", path=str(error.filename)) from error
    finally:
        os.close(root)
    scanner.manifest.tree = tree
    return Scan(tree, scanner.manifest, scanner.blobs, scanner.count.files, scanner.count.total_bytes)


class _Scanner:
    def __init__(self, top: Path, known: Manifest | None, limits: TreeLimits, apart: Mapping[str, Stamp]) -> None:
        self.top = top
        self.apart = apart
        self.apart_directories = {str(parent) for path in apart for parent in PurePosixPath(path).parents}
        self.known = known.known if known else {}
        self.manifest = Manifest("")
        self.blobs: dict[str, bytes | Path] = {}
        self.count = Count(limits, str(top))

    def directory(self, fd: int, path: str, depth: int) -> tuple[str, int, bool]:
        """Hash of the tree at ``fd``, how many files are below, and whether there is anything at all."""
        self.count.enter(depth)
        entries: dict[str, TreeEntry] = {}
        files = 0
        with os.scandir(fd) as found:
            names = sorted(entry.name for entry in found)
        for name in names:
            if ignored(name):
                continue
            entry = self.entry(fd, name, f"{path}/{name}" if path else name, depth)
            if entry is not None:
                entries[name] = entry
                files += entry.size if entry.kind == "dir" else 1
        data = encode_tree(entries)
        digest = blob_hash(data)
        self.blobs[digest] = data
        return digest, files, bool(entries)

    def entry(self, parent: int, name: str, path: str, depth: int) -> TreeEntry | None:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                fd = os.open(name, _DIRECTORY, dir_fd=parent)
                try:
                    digest, files, holds = self.directory(fd, path, depth + 1)
                finally:
                    os.close(fd)
                if not holds and (path in self.apart or path in self.apart_directories):
                    return None
                return TreeEntry(kind="dir", hash=digest, size=files, mode=0o755)
            if self.apart.get(path) == stamp(status):
                return None
            if stat.S_ISREG(status.st_mode):
                return self.file(parent, name, path, status)
            if stat.S_ISLNK(status.st_mode):
                return self.link(parent, name, path, status)
        except FileNotFoundError:
            return None  # deleted while we looked: then it is not there
        except OSError as error:
            error.filename = str(self.top / path)
            raise
        return None

    def file(self, parent: int, name: str, path: str, status: os.stat_result) -> TreeEntry:
        self.count.add(status.st_size)
        if (seen := self.known.get(path)) is not None and seen[0] == stamp(status):
            self.manifest.known[path] = seen
            return seen[1]
        fd = os.open(name, _FILE, dir_fd=parent)
        try:
            status = os.fstat(fd)
            digest, size = _hash(fd)
        finally:
            os.close(fd)
        mode = 0o755 if status.st_mode & 0o111 else 0o644
        entry = TreeEntry(kind="file", hash=digest, size=size, mode=mode)
        self.manifest.known[path] = (stamp(status), entry)
        self.blobs[digest] = self.top / path
        return entry

    def link(self, parent: int, name: str, path: str, status: os.stat_result) -> TreeEntry:
        self.count.add(0)
        target = os.fsencode(os.readlink(name, dir_fd=parent))
        digest = blob_hash(target)
        entry = TreeEntry(kind="symlink", hash=digest, size=len(target), mode=0o644)
        self.manifest.known[path] = (stamp(status), entry)
        self.blobs[digest] = target
        return entry


def _hash(fd: int) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while chunk := os.read(fd, _CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
