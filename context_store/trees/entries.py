"""What is said of single entries."""

from __future__ import annotations

from schemas.tree import TreeEntry

Entries = dict[str, TreeEntry]
"""One directory: name → entry."""


def directory_entry(tree: str, entries: Entries) -> TreeEntry:
    """The entry that stands for a directory: ``size`` counts the files below."""
    files = sum(e.size if e.kind == "dir" else 1 for e in entries.values())
    return TreeEntry(kind="dir", hash=tree, size=files, mode=0o755)


def same(a: TreeEntry | None, b: TreeEntry | None) -> bool:
    """Whether two entries mean the same: a directory's hash says all; sizes elsewhere follow from the hash."""
    if a is None or b is None:
        return a is b
    return a.kind == b.kind and a.hash == b.hash and (a.kind != "file" or a.mode == b.mode)


def differing(a: Entries, b: Entries) -> list[str]:
    """The names whose entries are not one and the same object: all that can differ. The common case, so it is quick."""
    found = [name for name, entry in b.items() if a.get(name) is not entry]
    return found + [name for name in a if name not in b]
