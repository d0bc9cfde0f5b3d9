"""Addresses: what may stand for one, and ids that users choose."""

from __future__ import annotations

from typing import Any

from schemas.errors import InvalidInput

_MAX_ID = 200


def address_of(box: Any) -> str:
    """The address of a string, an agent, a live box or a Box. Raises `InvalidInput`."""
    if isinstance(box, str):
        return box
    for field in ("address", "id", "name"):
        value = getattr(box, field, None)
        if isinstance(value, str) and value:
            return value
    raise InvalidInput(f"{box!r} has no address; give a name such as 'planner', or a live box")


def checked_id(id: str | None) -> str | None:
    """``id`` if it may be a message's id; it becomes part of a header. Raises `InvalidInput`."""
    if id is None:
        return None
    if not isinstance(id, str) or not 0 < len(id) <= _MAX_ID or not (id.isascii() and id.isprintable()) or " " in id:
        raise InvalidInput(f"id {str(id)[:80]!r}: use 1-{_MAX_ID} printable ASCII characters without spaces")
    return id
