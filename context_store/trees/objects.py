"""Tree objects: read and write them, walk, edit by path, read a file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final, NamedTuple

from context_store.blobs.port import Blobs
from context_store.trees.entries import Entries, directory_entry
from schemas.errors import InvalidInput, NotFound
from schemas.tree import EMPTY_TREE, TreeEntry, TreeStat, blob_hash, decode_tree, encode_tree, split_path

FileEdit = bytes | tuple[bytes, int] | TreeEntry | None
"""What becomes of a path: bytes (the mode stays, or is 0o644), bytes and mode, a stored entry, or ``None``: deleted."""

_REMEMBERED: Final = 2048
_HASHED_HERE_BYTES: Final = 64 * 1024


class _Spine:
    """One directory that edits pass through."""

    __slots__ = ("dirs", "edits")

    def __init__(self) -> None:
        self.dirs: dict[str, _Spine] = {}
        self.edits: dict[str, FileEdit] = {}


class _Written(NamedTuple):
    """A directory that an edit made, before it is stored."""

    tree: str
    encoded: bytes
    entries: Entries


class TreeObjects:
    """Trees of one tenant, one at a time. They are immutable: the last 2,048 read or written are remembered."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self._known: OrderedDict[str, Entries] = OrderedDict()

    # --- whole tree objects ---------------------------------------------------------------------------------------

    async def read(self, tree: str) -> Entries:
        """The entries of one directory; a copy. Raises `BlobNotFound`, `IntegrityError`."""
        return dict((await self.read_many([tree]))[tree])

    async def read_many(self, trees: Iterable[str]) -> dict[str, Entries]:
        """Hash → entries, with one trip to the blobs for all that are not remembered. Not to be modified."""
        found: dict[str, Entries] = {}
        unknown: list[str] = []
        for tree in dict.fromkeys(trees):
            if (entries := self._known.get(tree)) is not None:
                self._known.move_to_end(tree)
                found[tree] = entries
            else:
                unknown.append(tree)
        if unknown:
            for tree, data in zip(unknown, await self.blobs.get_many(unknown), strict=True):
                found[tree] = decode_tree(data)
                self._remember(tree, found[tree])
        return found

    async def write(self, entries: Entries) -> str:
        """Store one directory and return its hash. Raises `InvalidInput` for a name or hash that cannot be one."""
        return (await self.write_many([entries]))[0]

    async def write_many(self, directories: list[Entries]) -> list[str]:
        """Like `write` for each, in one trip."""
        directories = [dict(sorted(entries.items())) for entries in directories]
        hashes = await self._store([encode_tree(entries) for entries in directories])
        for tree, entries in zip(hashes, directories, strict=True):
            self._remember(tree, entries)
        return hashes

    # --- by path -----------------------------------------------------------------------------------------------------

    async def entry(self, tree: str, path: str) -> TreeEntry | None:
        """What is at ``path``, ``None`` if nothing. O(depth)."""
        names = split_path(path)
        for position, name in enumerate(names):
            found = (await self.read_many([tree]))[tree].get(name)
            if found is None or position == len(names) - 1:
                return found
            if found.kind != "dir":
                return None
            tree = found.hash
        return None

    async def read_file(self, tree: str, path: str) -> bytes:
        """The bytes of a file, or the target of a symlink. Raises `NotFound`, `InvalidInput` for a directory."""
        found = await self.entry(tree, path)
        if found is None:
            raise NotFound(f"no {path!r} in tree {tree[:12]}", path=path, tree=tree)
        if found.kind == "dir":
            raise InvalidInput(f"{path!r} is a directory", path=path, tree=tree)
        return await self.blobs.get(found.hash)

    async def walk(self, tree: str, *, dirs: bool = False) -> AsyncIterator[tuple[str, TreeEntry]]:
        """``(path, entry)`` of everything below, names in order, a directory before what is in it.

        Reads while it goes; directories themselves are given only with ``dirs``.
        """
        stack = [("", iter(sorted((await self.read_many([tree]))[tree].items())))]
        while stack:
            prefix, entries = stack[-1]
            name, found = next(entries, (None, None))
            if name is None or found is None:
                stack.pop()
                continue
            if found.kind != "dir" or dirs:
                yield prefix + name, found
            if found.kind == "dir":
                below = (await self.read_many([found.hash]))[found.hash]
                stack.append((f"{prefix}{name}/", iter(sorted(below.items()))))

    async def stat(self, tree: str, *, limit: int = 1000) -> TreeStat:
        """Files, bytes and the first ``limit`` paths. O(files)."""
        files = size = 0
        paths: list[str] = []
        async for path, found in self.walk(tree):
            files += 1
            size += found.size
            if len(paths) < limit:
                paths.append(path)
        return TreeStat(files=files, bytes=size, paths=paths)

    async def put_files(self, base: str, files: Mapping[str, FileEdit]) -> str:
        """``base`` with ``files`` put in: the new tree. Reads and writes only the directories on the way.

        A file replaces a directory in its place and the other way round; directories are made as needed, and
        go when the last thing in them is deleted. Deletions come first, so ``{"d": None, "d/x": b""}`` leaves
        only ``x`` in ``d``; deleting what is not there is fine. A mode is reduced to
        0o755 or 0o644. Raises `InvalidInput` for a bad path, or for one path above another.
        """
        root = _spine(files)
        contents = {id(e): e[0] if isinstance(e, tuple) else e for e in files.values() if isinstance(e, (bytes, tuple))}
        outgoing = list(contents.values())
        if sum(map(len, outgoing)) > _HASHED_HERE_BYTES:  # in a thread, then, and with a trip of its own
            hashes, outgoing = await self._store(outgoing), []
        else:
            hashes = [blob_hash(data) for data in outgoing]
        written: list[_Written] = []
        before = TreeEntry(kind="dir", hash=base)
        after = await self._edited(before, root, dict(zip(contents, hashes, strict=True)), written)
        await self._store([*outgoing, *(made.encoded for made in written)])
        for made in written:
            self._remember(made.tree, made.entries)
        return after.hash if after is not None else EMPTY_TREE

    async def _edited(
        self, before: TreeEntry | None, spine: _Spine, stored: dict[int, str], written: list[_Written]
    ) -> TreeEntry | None:
        """The directory after the edits below it, ``None`` when nothing is left in it; new ones go to ``written``."""
        was_dir = before is not None and before.kind == "dir"
        old = (await self.read_many([before.hash]))[before.hash] if before is not None and was_dir else {}
        new = dict(old)
        changed = False
        for name in [name for name, edit in spine.edits.items() if edit is None]:
            changed |= new.pop(name, None) is not None
        for name, below in spine.dirs.items():
            found = await self._edited(new.get(name), below, stored, written)
            changed |= _set(new, name, found)
        for name, edit in spine.edits.items():
            if edit is not None:
                changed |= _set(new, name, _entry(old.get(name), edit, stored))
        if not changed:
            return before
        if not new:
            return None
        encoded = encode_tree(new)
        made = _Written(blob_hash(encoded), encoded, new)
        written.append(made)
        return directory_entry(made.tree, new)

    async def _store(self, blobs: list[bytes]) -> list[str]:
        """Where everything that is written goes to."""
        return await self.blobs.put_many(blobs)

    def _remember(self, tree: str, entries: Entries) -> None:
        self._known[tree] = entries
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _set(entries: Entries, name: str, found: TreeEntry | None) -> bool:
    """Put or remove one name; whether that changed anything."""
    if entries.get(name) == found:
        return False
    if found is None:
        del entries[name]
    else:
        entries[name] = found
    return True


def _entry(before: TreeEntry | None, edit: bytes | tuple[bytes, int] | TreeEntry, stored: dict[int, str]) -> TreeEntry:
    if isinstance(edit, TreeEntry):
        return edit
    if isinstance(edit, tuple):
        data, mode = edit
        mode = 0o755 if mode & 0o111 else 0o644
    else:
        data = edit
        mode = before.mode if before is not None and before.kind == "file" else 0o644
    return TreeEntry(kind="file", hash=stored[id(edit)], size=len(data), mode=mode)


def _spine(files: Mapping[str, FileEdit]) -> _Spine:
    root = _Spine()
    for path, edit in files.items():
        *above, name = split_path(path)
        current = root
        for step in above:
            current = current.dirs.setdefault(step, _Spine())
        current.edits[name] = edit
    _check_clash(root, "")
    return root


def _check_clash(spine: _Spine, prefix: str) -> None:
    for name, below in spine.dirs.items():
        if spine.edits.get(name) is not None:
            raise InvalidInput(f"{prefix + name!r} is put as a file and has files below it in the same edit")
        _check_clash(below, f"{prefix}{name}/")
