"""What passes on the bus says what to read again: ids where it names them, whole lists where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from schemas.subjects import HUB, Subject

Noun = Literal["boxes", "tasks", "branches", "new_branches"]

_PRESENCE: Final = frozenset({"presence.beat", "presence.node", "presence.goodbye"})
_TASKS_MOVED: Final = "tasks.moved"
"""The signal in which a hub tells its replicas which tasks it has just written."""
_CHANGE_ONE_BRANCH: Final = frozenset({"branch_advance", "branch_write", "branch_commit", "branch_discard"})
_LISTS: Final[dict[str, Noun]] = {
    "branch_fork": "new_branches",
    "workspace_create": "branches",
    "box_spawn": "boxes",
    "box_stop": "boxes",
}
_READS: Final = 2
"""A call is seen before it is carried out: one read may come too early, the second does not."""


@dataclass(slots=True)
class Wanted:
    """What to read now."""

    nouns: set[Noun] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    branches: set[str] = field(default_factory=set)


class Hints:
    """Collects what was hinted at; every note is cheap and never waits. Bounded by what exists."""

    def __init__(self) -> None:
        self._nouns: dict[Noun, int] = {}
        self._tasks: set[str] = set()
        self._branches: dict[str, int] = {}

    def note(self, subject: Subject, data: bytes) -> None:
        if subject.kind == "signal":
            if subject.name in _PRESENCE:
                self._nouns.setdefault("boxes", 1)
            elif subject.name == _TASKS_MOVED and subject.sender == HUB:
                self._tasks.update(_moved_tasks(data))
        elif subject.kind == "call" and subject.box == HUB:
            if subject.name in _LISTS:
                self._nouns[_LISTS[subject.name]] = _READS
            elif subject.name in _CHANGE_ONE_BRANCH and (branch := _branch_argument(data)):
                self._branches[branch] = _READS

    def take(self) -> Wanted:
        """What to read now; what a call announced is wanted once more the next time."""
        wanted = Wanted(set(self._nouns), self._tasks, set(self._branches))
        self._nouns = {noun: left - 1 for noun, left in self._nouns.items() if left > 1}
        self._tasks = set()
        self._branches = {branch: left - 1 for branch, left in self._branches.items() if left > 1}
        return wanted

    def clear(self) -> None:
        """Everything has just been read; what calls announced may still be under way."""
        self._tasks.clear()


class _Moves(msgspec.Struct):
    moved: list[tuple[str, str]]


class _MovesEnvelope(msgspec.Struct):
    data: _Moves


class _BranchArguments(msgspec.Struct):
    branch: str = ""


class _BranchCall(msgspec.Struct):
    kwargs: _BranchArguments


class _BranchEnvelope(msgspec.Struct):
    data: _BranchCall


_moves: Final = msgspec.json.Decoder(_MovesEnvelope)
_branch: Final = msgspec.json.Decoder(_BranchEnvelope)


def _moved_tasks(data: bytes) -> list[str]:
    """None when it is said in a way this version does not know; the sweep finds them."""
    try:
        return [task for task, _ in _moves.decode(data).data.moved]
    except msgspec.DecodeError:
        return []


def _branch_argument(data: bytes) -> str:
    try:
        return _branch.decode(data).data.kwargs.branch
    except msgspec.DecodeError:
        return ""
