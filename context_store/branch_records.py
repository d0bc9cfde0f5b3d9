"""A branch as it is stored: its fields, and two more that make its commit safe (see `commits`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from context_store.backend import Collection, Document, Record
from context_store.documents import encode
from schemas.branch import Branch
from schemas.errors import InvalidInput, PayloadTooLarge, RevisionConflict, Superseded, TerminalState
from schemas.tree import EMPTY_TREE

BRANCHES: Final = Collection("branches", indexes=("workspace", "state", "parent", "group", "mode"))
MAX_BRANCH_BYTES: Final = 64 * 1024


class Mark(BaseModel):
    """Left in a parent by the pointer switch of a commit: which branch, and what it did."""

    branch: str
    tree: str
    before: str
    fast_forward: bool
    at: float
    keys_before: str = EMPTY_TREE
    keys: str = EMPTY_TREE
    turns: int = 0


@dataclass(frozen=True)
class Stored:
    """A branch record. ``seal``: token of the commit that is under way; ``mark``: the last commit into this branch."""

    branch: Branch
    revision: int
    seal: str
    mark: Mark | None


def load(record: Record) -> Stored:
    doc = record.doc
    mark = doc.get("mark")
    return Stored(
        Branch.model_validate(doc), record.revision, doc.get("seal", ""), Mark.model_validate(mark) if mark else None
    )


def to_doc(branch: Branch, *, seal: str = "", mark: Mark | None = None) -> Document:
    """The document, defaults included, since they are searched for. Raises `PayloadTooLarge`."""
    doc = branch.model_dump(mode="json")
    if seal:
        doc["seal"] = seal
    if mark is not None:
        doc["mark"] = mark.model_dump()
    size = len(encode(doc))
    if size > MAX_BRANCH_BYTES:
        raise PayloadTooLarge(
            f"branch {branch.id!r}: {size} bytes, {MAX_BRANCH_BYTES} are allowed; its metadata is too large",
            size_bytes=size,
            limit_bytes=MAX_BRANCH_BYTES,
        )
    return doc


def ended(branch: Branch) -> TerminalState:
    return TerminalState(
        f"branch {branch.id!r} is {branch.state}; ended branches never change. Fork from its parent instead",
        branch=branch.id,
        state=branch.state,
        committed_tree=branch.committed_tree,
    )


def beaten(branch: Branch, winner: str) -> Superseded:
    return Superseded(
        f"branch {branch.id!r} lost its race: {winner!r} was committed first", branch=branch.id, winner=winner
    )


def conflict_of_heads(branch: Branch, expected: str) -> RevisionConflict:
    return RevisionConflict(
        f"branch {branch.id!r} has moved: its head is {branch.head[:12]}, not {expected[:12]}",
        branch=branch.id,
        expected=expected,
        actual=branch.head,
    )


def heads(branch: Branch, parent: Branch) -> tuple[str, str, str, str]:
    """What a plan depends on: both heads, and both key-values."""
    return branch.head, parent.head, branch.shared.keys, parent.shared.keys


def moved_on(branch: Branch, expected: tuple[str, ...], parent: Branch) -> RevisionConflict:
    """The heads are not those a plan was made for."""
    return RevisionConflict(
        f"branch {branch.id!r} or its parent {parent.id!r} has moved since the merge was planned; plan it again",
        branch=branch.id,
        expected=list(expected),
        actual=list(heads(branch, parent)),
    )


def has_no_parent(branch: str) -> InvalidInput:
    return InvalidInput(f"branch {branch!r} is the root of its workspace: it has nothing to commit to", branch=branch)
