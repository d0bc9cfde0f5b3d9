"""File trees by content: blobs (bytes) and trees (directories), both named by the SHA-256 of their bytes.

A tree is stored as a blob of canonical JSON, so equal directories have equal hashes on every machine and
sub-trees are shared. Names are those of the file system, undecodable bytes as surrogate escapes.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from schemas.errors import IntegrityError, InvalidInput
from schemas.model import Value

EntryKind = Literal["file", "dir", "symlink"]
MARK: Final = "boxhub.tree.v1"
_REMEMBERED: Final = 65_536
_HASH = re.compile(r"[0-9a-f]{64}")
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_ON_THE_WIRE = re.compile("\0([89a-f][0-9a-f])")


def wire_name(name: str) -> str:
    """A name or path as it goes over the wire, where text is UTF-8: a byte that is not becomes NUL and two hex digits.

    No file name has a NUL, so `name_from_wire` gives back exactly what was given.
    """
    return name if name.isascii() else _UNDECODABLE.sub(lambda found: f"\0{ord(found[0]) - 0xDC00:02x}", name)


def name_from_wire(text: object) -> object:
    """The name that `wire_name` was given; anything that is no text stays what it is."""
    if not isinstance(text, str) or "\0" not in text:
        return text
    return _ON_THE_WIRE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def shown_name(name: str) -> str:
    """A name or path for people: undecodable bytes as replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


FileName = Annotated[
    str, PlainSerializer(wire_name, return_type=str, when_used="json"), BeforeValidator(name_from_wire)
]
"""A name or path in a model: as the file system has it in Python, `wire_name` in JSON."""


class TreeEntry(Value):
    """One name in a directory. ``hash``: of the bytes, of the sub-tree, or of the link's target text."""

    kind: EntryKind
    hash: str
    size: int = 0  # bytes of a file; files below for a directory
    mode: int = 0o644  # permission bits; only 0o644/0o755 distinguish files


class Change(Value):
    """One path that differs between two trees; ``path`` is relative, with ``/``.

    ``mode_changed``: only the mode. ``renamed``: it was at ``from_path``; whether it was edited too, the hashes say.
    """

    path: FileName
    kind: Literal["added", "modified", "deleted", "type_changed", "mode_changed", "renamed"]
    before: TreeEntry | None = None
    after: TreeEntry | None = None
    from_path: FileName = ""


ConflictKind = Literal[
    "content",  # both changed the same or adjacent lines
    "binary",  # both changed a file that is no text
    "too_large",  # both changed a file that is too large to merge by lines
    "add_add",  # both put something different at a path that was free
    "modify_delete",  # one changed what the other deleted
    "type_changed",  # a file on one side, a link on the other
    "symlink",  # both moved a link
    "directory_file",  # a directory on one side, something else on the other
    "rename_rename",  # both renamed it, to different names; or renamed two files to one name
    "rename_delete",  # one renamed what the other deleted
    "rename_add",  # one renamed a file to where the other put another
    "key_value",  # both wrote a key differently; the path is `key_path`, each side's bytes are the value as JSON
]

_KEYS: Final = "/keys/"


def key_path(key: str) -> str:
    """The path that stands for a key-value in a merge. It is absolute, which no file's path is."""
    return _KEYS + key


class Conflict(Value):
    """One path both sides changed; ``None`` means absent there.

    ``path`` is where the result would be. The other paths say under which name the base or a side had it, when that
    was another: a file that ours renamed has ``base_path`` and ``theirs_path``.
    """

    path: FileName
    kind: ConflictKind = "content"
    base: TreeEntry | None = None
    ours: TreeEntry | None = None
    theirs: TreeEntry | None = None
    base_path: FileName = ""
    ours_path: FileName = ""
    theirs_path: FileName = ""


class TreeStat(Value):
    files: int = 0
    bytes: int = 0
    paths: list[FileName] = Field(default_factory=list)


def blob_hash(data: bytes) -> str:
    """SHA-256 in hex, the name of a blob."""
    return hashlib.sha256(data).hexdigest()


def is_hash(text: str) -> bool:
    return isinstance(text, str) and _HASH.fullmatch(text) is not None


def check_hash(text: str) -> str:
    """``text`` if it is a blob hash. Raises `InvalidInput`; a hash becomes a path, so nothing else may pass."""
    if not is_hash(text):
        raise InvalidInput(f"{str(text)[:80]!r} is not a SHA-256 in lower-case hex")
    return text


def check_entry_name(name: str) -> str:
    """``name`` if it can be one directory entry. Raises `InvalidInput` on '', '.', '..', '/' and NUL."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name) > 255:
        raise InvalidInput(f"{name[:80]!r} cannot be a file name in a tree")
    return name


def split_path(path: str) -> list[str]:
    """The names in a relative path. Raises `InvalidInput` if it is absolute, empty or climbs with ``..``."""
    names = path.split("/")
    if len(names) > 128:
        raise InvalidInput(f"path is {len(names)} levels deep, 128 are allowed", path=path[:200])
    return [check_entry_name(n) for n in names]


# Versions of a directory share nearly all of their entries, so both ways remember the last ones. Equal entries are one
# object then, which is what makes it cheap to find those that differ.


_checked = lru_cache(maxsize=_REMEMBERED)(check_entry_name)


@lru_cache(maxsize=_REMEMBERED)
def _row(name: str, kind: EntryKind, digest: str, size: int, mode: int) -> str:
    row = json.dumps([kind, check_hash(digest), size, mode], separators=(",", ":"))
    return f"{json.dumps(check_entry_name(name))}:{row}"


@lru_cache(maxsize=_REMEMBERED, typed=True)
def _decoded(kind: EntryKind, digest: str, size: int, mode: int) -> TreeEntry:
    return TreeEntry(kind=kind, hash=check_hash(digest), size=size, mode=mode)


def encode_tree(entries: dict[str, TreeEntry]) -> bytes:
    """Canonical bytes: sorted names, no spaces, ASCII only. Equal entries give equal bytes."""
    rows = ",".join([_row(name, e.kind, e.hash, e.size, e.mode) for name, e in sorted(entries.items())])
    return f'{{"{MARK}":{{{rows}}}}}'.encode("ascii")


def decode_tree(data: bytes) -> dict[str, TreeEntry]:
    """The entries of a stored tree. Raises `IntegrityError` when the bytes are no tree of ours."""
    try:
        rows = json.loads(data)[MARK]
        return {_checked(name): _decoded(kind, digest, size, mode) for name, (kind, digest, size, mode) in rows.items()}
    except (ValueError, KeyError, TypeError, AttributeError, InvalidInput, RecursionError) as error:
        raise IntegrityError(f"not a tree: {error}") from error


EMPTY_TREE: Final = blob_hash(encode_tree({}))
"""Hash of the directory with nothing in it; every blob store knows it without being told."""
