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


class Shared(Value):
    """What agents share on a branch besides files, as pointers to what never changes: so a fork copies nothing.

    ``keys`` is a tree with one file per key-value. ``past`` and ``line`` say where the turns are stored.
    """

    keys: str = EMPTY_TREE
    revision: int = 0  # of the newest key-value; grows with every write, also with a deletion
    turn: str = ""  # the newest turn; empty before the first
    turns: int = 0  # from the first to the newest
    line: str = ""
    past: tuple[tuple[str, int], ...] = ()


class Branch(Model):
    """A line of work on a workspace. ``base`` is the parent's tree at the fork, ``head`` its own newest tree.

    ``base_shared`` and ``shared`` are the same for conversation and key-values. ``conversation``: the one the workspace
    was made with; on this branch its turns are those of ``shared``.
    """

    id: str
    workspace: str
    name: str = ""
    parent: str = ""  # branch id; empty for the root branch
    base: str = EMPTY_TREE
    head: str = EMPTY_TREE
    state: BranchState = "open"
    conversation: str = ""
    base_shared: Shared = Shared()
    shared: Shared = Shared()
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

    ``tree`` is the merged tree, stored, or empty while there are ``conflicts``; ``keys`` is that of the key-values. It
    holds as long as the branch's head is ``ours`` and the target's ``theirs``, and their key-values are ``our_keys``
    and ``their_keys``. ``turns``: how many turns of the branch the target's conversation would get.
    """

    branch: str
    target: str
    base: str
    ours: str
    theirs: str
    tree: str = ""
    fast_forward: bool = False
    conflicts: list[Conflict] = Field(default_factory=list)
    our_keys: str = EMPTY_TREE
    their_keys: str = EMPTY_TREE
    keys: str = EMPTY_TREE
    turns: int = 0


class CommitResult(Value):
    """What a commit did. ``fast_forward``: the target's files had not moved.

    ``keys``: which key-values of the target changed; ``turns``: how many turns its conversation got.
    In a race, the branches that lost are ``superseded``, their live boxes have ended (``stopped``), and their tasks
    were told to (``cancelling``): such a task is ``canceled`` once it is proved that nothing of it runs.
    """

    branch: str
    target: str
    tree: str
    fast_forward: bool
    changes: list[Change] = Field(default_factory=list)
    keys: list[str] = Field(default_factory=list)
    turns: int = 0
    superseded: list[str] = Field(default_factory=list)
    cancelling: list[str] = Field(default_factory=list)
    stopped: list[str] = Field(default_factory=list)
