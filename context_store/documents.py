"""What every adapter does to documents: canonical JSON, the values of indexed fields, limits.

Adapters store the document as JSON text beside the indexed fields, not as native nested values: keys with
dots, dollars or NUL, integers beyond 64 bits and lone surrogates (file names) then survive in every
database, and both adapters behave alike. `docs/adr/0002-stores.md` has the reasons.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from context_store.backend import MAX_FIND, Collection, Document, Scalar, Where
from schemas.errors import InvalidInput, PayloadTooLarge

MAX_DOCUMENT_BYTES: Final = 8 * 1024 * 1024
MAX_KEY_BYTES: Final = 1024
MAX_FIELD_BYTES: Final = 1024
_INT64: Final = 2**63


@dataclass(frozen=True)
class Prepared:
    """A document ready to be stored. ``fields`` is in the order of `Collection.fields`."""

    json: str
    fields: tuple[Scalar, ...]
    text: str | None


def prepare(collection: Collection, doc: Document) -> Prepared:
    """Check and encode. Raises `InvalidInput` for what JSON cannot say, `PayloadTooLarge`."""
    if not isinstance(doc, dict):
        raise InvalidInput(f"{collection.name}: a document is a dict, not {type(doc).__name__}")
    encoded = encode(doc)
    return Prepared(
        encoded,
        tuple(_checked(collection, name, extract(doc, name)) for name in collection.fields),
        _text(collection, doc),
    )


def encode(doc: Document) -> str:
    """ASCII JSON of a document, so every string in it survives every database."""
    try:
        encoded = json.dumps(doc, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the document is not JSON: {error}") from error
    if len(encoded) > MAX_DOCUMENT_BYTES:
        raise PayloadTooLarge(
            f"the document has {len(encoded)} bytes, {MAX_DOCUMENT_BYTES} are allowed; put large content into a blob",
            size_bytes=len(encoded),
            limit_bytes=MAX_DOCUMENT_BYTES,
        )
    return encoded


def decode(text: str) -> Document:
    doc: Document = json.loads(text)
    return doc


def extract(doc: Document, name: str) -> Any:
    """The value at a dotted field name; ``None`` if any part is missing."""
    value: Any = doc
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _checked(collection: Collection, name: str, value: Any) -> Scalar:
    """An indexable value; booleans become 0 and 1, so that all databases compare alike."""
    if value is None:
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str):
        check_text(f"{collection.name}.{name}", value, MAX_FIELD_BYTES)
        return value
    raise InvalidInput(
        f"{collection.name}.{name} is indexed: null, a 64-bit number or a string is needed, not {str(value)[:80]!r}"
    )


def _text(collection: Collection, doc: Document) -> str | None:
    if collection.text is None:
        return None
    value = extract(doc, collection.text)
    return fold(value) if isinstance(value, str) else None


def fold(text: str) -> str:
    """Text as it is searched: case folded, without characters that databases trip over."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", " ")
    return clean.casefold()


def check_text(what: str, value: str, limit_bytes: int) -> str:
    """``value`` if a database can hold it as a key. Raises `InvalidInput`."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what}: {value[:80]!r} is not valid Unicode") from error
    if size > limit_bytes or "\0" in value:
        raise InvalidInput(f"{what}: at most {limit_bytes} bytes without NUL, got {size}: {value[:80]!r}")
    return value


def check_key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise InvalidInput(f"a key is a non-empty string, not {key!r}")
    return check_text("key", key, MAX_KEY_BYTES)


@dataclass(frozen=True)
class Query:
    """A checked `Records.find`. ``by`` is the field to order by, ``None`` for the key."""

    where: tuple[tuple[str, tuple[Scalar, ...]], ...]
    by: str | None
    descending: bool
    after_key: str | None
    after_value: Scalar
    from_key: str | None
    until_key: str | None
    words: tuple[str, ...]
    limit: int


def query(
    collection: Collection,
    where: Where | None,
    prefix: str | None,
    after: Any,
    limit: int,
    order: str,
    text: str | None,
) -> Query:
    """Check the arguments of `Records.find`. Raises `InvalidInput` that says which fields there are."""
    descending = order.startswith("-")
    by: str | None = order.removeprefix("-")
    if by == "key":
        by = None
    for name in [*(where or {}), *([by] if by else [])]:
        if name not in collection.fields:
            known = ", ".join(collection.fields) or "none"
            raise InvalidInput(f"{collection.name} cannot be found by {name!r}; indexed fields: {known}")
    if not 1 <= limit <= MAX_FIND:
        raise InvalidInput(f"limit {limit}: use 1 to {MAX_FIND}, and page with `after`")
    if text is not None and collection.text is None:
        raise InvalidInput(f"{collection.name} has no text to search")
    if isinstance(after, str) and by is not None:
        raise InvalidInput("paging by a field needs the last record of the page before, not its key")
    after_key = after if isinstance(after, str) or after is None else after.key
    after_value = _checked(collection, by, extract(after.doc, by)) if by and after is not None else None
    conditions = tuple(
        (name, tuple(_checked(collection, name, v) for v in (value if isinstance(value, tuple) else (value,))))
        for name, value in (where or {}).items()
    )
    if prefix:
        check_text("prefix", prefix, MAX_KEY_BYTES)
    return Query(
        where=conditions,
        by=by,
        descending=descending,
        after_key=after_key,
        after_value=after_value,
        from_key=prefix or None,
        until_key=successor(prefix) if prefix else None,
        words=tuple(fold(text).split()) if text else (),
        limit=limit,
    )


def successor(prefix: str) -> str | None:
    """The smallest string above all that begin with ``prefix``, in code point order; ``None`` if there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            following = 0xE000 if last == 0xD7FF else last + 1  # step over the surrogates
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None
