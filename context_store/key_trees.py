"""Key-values of a branch as a tree: one small file per key, so that forks, merges and transport are those of files.

Keys are spread over 256 directories by hash. A write so rewrites a 256th of the names, and a merge opens only
directories that differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote, unquote

from context_store.backend import Document
from context_store.documents import check_key, encode
from context_store.trees import Trees
from schemas.errors import InvalidInput, PayloadTooLarge, RevisionConflict
from schemas.keyvalue import Entry
from schemas.tree import TreeEntry

MAX_VALUE_BYTES: Final = 1024 * 1024
_MAX_NAME: Final = 200
_PLAIN, _HASHED = "k", "h"


def path_of(key: str) -> str:
    """Where a key is in the tree. A key too long for a file name is named by its hash, and stands in the file."""
    digest = hashlib.sha256(check_key(key).encode()).hexdigest()
    name = _PLAIN + quote(key, safe="")
    return f"{digest[:2]}/{name if len(name) <= _MAX_NAME else _HASHED + digest}"


def document(key: str, value: Any, now: float, ttl_s: float | None) -> Document:
    """A value as it is stored. Raises `InvalidInput` for a bad ``ttl_s`` or no JSON, `PayloadTooLarge`."""
    if ttl_s is not None and not ttl_s > 0:
        raise InvalidInput(f"ttl_s {ttl_s}: use seconds above 0, or None to keep the entry")
    doc: Document = {"value": value, "updated_at": now}
    size = len(encode(doc))
    if size > MAX_VALUE_BYTES:
        raise PayloadTooLarge(
            f"key {key!r}: {size} bytes, {MAX_VALUE_BYTES} are allowed; put large values into a blob",
            key=key,
            size_bytes=size,
            limit_bytes=MAX_VALUE_BYTES,
        )
    if ttl_s is not None:
        doc["expires_at"] = now + ttl_s
    return doc


def not_at(key: str, expected: int, actual: int) -> RevisionConflict:
    return RevisionConflict(
        f"key {key!r} is at revision {actual}, not {expected}", key=key, expected=expected, actual=actual
    )


def packed(key: str, doc: Document, revision: int) -> bytes:
    """The file of a key-value."""
    return encode({**doc, "key": key, "revision": revision}).encode()


def unpacked(data: bytes) -> Entry:
    return Entry.model_validate_json(data)


def repacked(entry: Entry, revision: int) -> bytes:
    """The same value, written at ``revision``."""
    doc: Document = {"value": entry.value, "updated_at": entry.updated_at}
    if entry.expires_at is not None:
        doc["expires_at"] = entry.expires_at
    return packed(entry.key, doc, revision)


def bare(entry: Entry) -> bytes:
    """Its value as JSON: what somebody who settles a conflict is given."""
    return json.dumps(entry.value, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")


def same(ours: Entry | None, theirs: Entry | None) -> bool:
    """Whether both sides did the same, the time and the revision of it aside."""
    if ours is None or theirs is None:
        return ours is theirs
    return (ours.value, ours.expires_at) == (theirs.value, theirs.expires_at)


class KeyTrees:
    """Reads key-values out of trees."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees

    async def get(self, tree: str, key: str) -> Entry | None:
        """The entry, expired or not. O(log keys) reads, and none of what was read before but the value."""
        found = await self._trees.entry(tree, path_of(key))
        return unpacked(await self._trees.blobs.get(found.hash)) if found is not None else None

    async def changed(self, before: str, after: str) -> list[str]:
        """The keys that differ, sorted. O(those)."""
        keys = []
        for change in await self._trees.diff(before, after):
            place = change.after or change.before
            assert place is not None
            keys.append(await self._key(change.path, place))
        return sorted(keys)

    async def entries(self, tree: str, prefix: str = "", after: str = "") -> AsyncIterator[Entry]:
        """Those whose key begins with ``prefix`` and comes behind ``after``, in key order. O(keys) names."""
        places: list[tuple[str, TreeEntry]] = []
        async for path, place in self._trees.walk(tree):
            key = await self._key(path, place)
            if key.startswith(prefix) and key > after:
                places.append((key, place))
        for _, place in sorted(places, key=lambda found: found[0]):
            yield unpacked(await self._trees.blobs.get(place.hash))

    async def _key(self, path: str, place: TreeEntry) -> str:
        name = path.rpartition("/")[2]
        if name.startswith(_PLAIN):
            return unquote(name[1:])
        return unpacked(await self._trees.blobs.get(place.hash)).key
