"""Workspaces and branches: who forked from what, and how it ended."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.model import Model, Value
from schemas.tree import EMPTY_TREE, Change, Conflict, FileName, TreeEntry

BranchState = Literal["open", "committed", "discarded", "superseded"]
BranchMode = Literal["join", "race"]
"""How branches forked together end: each is merged, or one is committed and the others are ``superseded``."""
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
    group: str = ""  # branches forked together
    mode: BranchMode = "join"
    created_at: float = 0.0
    ended_at: float | None = None
    committed_tree: str = ""  # what the parent's head became
    metadata: dict[str, Any] = Field(default_factory=dict)


class Tag(Value):
    """A tree that was given a name; it never moves."""

    tree: str
    branch: str  # whose head it was
    at: float
    by: str = ""


class Workspace(Model):
    """A branchable file tree shared by agents; its truth is the root branch."""

    id: str
    name: str
    root: str  # branch id
    owner: str = ""
    created_at: float = 0.0
    tags: dict[str, Tag] = Field(default_factory=dict)
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
    """What a commit did. ``fast_forward``: the target had not moved.

    In a race, the branches that lost are ``superseded``, their live boxes have ended (``stopped``), and their tasks
    were told to (``cancelling``): such a task is ``canceled`` once it is proved that nothing of it runs.
    """

    branch: str
    target: str
    tree: str
    fast_forward: bool
    changes: list[Change] = Field(default_factory=list)
    superseded: list[str] = Field(default_factory=list)
    cancelling: list[str] = Field(default_factory=list)
    stopped: list[str] = Field(default_factory=list)
