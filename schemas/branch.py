"""Workspaces and branches: who forked from what, and how it ended."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.model import Model, Value
from schemas.tree import EMPTY_TREE, Change, Conflict, FileName, TreeEntry

BranchState = Literal["open", "committed", "discarded", "superseded"]
OnConflict = Literal["fail", "ours", "theirs"]
"""``ours`` keeps the branch that is committed, ``theirs`` the target it is committed to."""


class Branch(Model):
    """A line of work on a workspace. ``base`` is the parent's tree at the fork, ``head`` its own newest tree."""

    id: str
    workspace: str
    name: str = ""
    parent: str = ""  # branch id; empty for the root branch
    base: str = EMPTY_TREE
    head: str = EMPTY_TREE
    state: BranchState = "open"
    conversation: str = ""
    base_turn: str = ""
    owner: str = ""
    group: str = ""  # branches forked together for a race
    created_at: float = 0.0
    ended_at: float | None = None
    committed_tree: str = ""  # what the parent's head became
    metadata: dict[str, Any] = Field(default_factory=dict)


class Workspace(Model):
    """A branchable file tree shared by agents; its truth is the root branch."""

    id: str
    name: str
    root: str  # branch id
    owner: str = ""
    created_at: float = 0.0
    metadata: dict[str, Any] = Field(default_factory=dict)


Resolutions = dict[FileName, dict[FileName, TreeEntry | None]]
"""Path of a conflict → what shall be where: path → stored entry, or nothing there."""


class MergePlan(Value):
    """What a commit would do at this moment; nothing is published.

    ``tree`` is the merged tree, stored, or empty while there are ``conflicts``. It holds as long as the branch's
    head is ``ours`` and the target's ``theirs``.
    """

    branch: str
    target: str
    base: str
    ours: str
    theirs: str
    tree: str = ""
    fast_forward: bool = False
    conflicts: list[Conflict] = Field(default_factory=list)


class CommitResult(Value):
    """What a commit did. ``fast_forward``: the target had not moved."""

    branch: str
    target: str
    tree: str
    fast_forward: bool
    changes: list[Change] = Field(default_factory=list)
