"""What passes on the bus says what to read again: ids where it names them, whole lists where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from schemas.subjects import HUB, Subject

Noun = Literal["boxes", "tasks", "branches"]

_PRESENCE: Final = frozenset({"presence.beat", "presence.node", "presence.goodbye"})
_TASKS_MOVED: Final = "tasks.moved"
"""The signal in which a hub tells its replicas which tasks it has just written."""
_NAME_BRANCHES: Final = frozenset(
    {"branch_fork", "branch_advance", "branch_write", "branch_rebase", "branch_commit", "branch_discard"}
)
_NAME_NOTHING: Final[dict[str, Noun]] = {"workspace_create": "branches", "box_spawn": "boxes", "box_stop": "boxes"}


@dataclass(slots=True)
class Wanted:
    """What to read now."""

    nouns: set[Noun] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    branches: set[str] = field(default_factory=set)


class Hints:
    """Collects what was hinted at; every note is cheap and never waits. Bounded by what exists.

    A wrong hint costs a read, a missing one waits for the next sweep: hints need not be believed.
    """

    def __init__(self) -> None:
        self._wanted = Wanted()

    def note(self, subject: Subject, data: bytes) -> None:
        """Something was published."""
        if subject.kind == "signal":
            if subject.name in _PRESENCE:
                self._wanted.nouns.add("boxes")
            elif subject.name == _TASKS_MOVED and subject.sender == HUB:
                self._wanted.tasks.update(_moved_tasks(data))

    def note_answer(self, box: str, skill: str, data: msgspec.Raw) -> None:
        """A call was answered, so it has been carried out."""
        if box != HUB:
            return
        if skill in _NAME_NOTHING:
            self._wanted.nouns.add(_NAME_NOTHING[skill])
        elif skill in _NAME_BRANCHES:
            self._wanted.branches.update(_branches(data))

    def note_everything(self) -> None:
        """Somebody who changed something past the bus asks for a look at all of it."""
        self._wanted.nouns |= {"boxes", "tasks", "branches"}

    def take(self) -> Wanted:
        """What to read now; forgotten here."""
        wanted, self._wanted = self._wanted, Wanted()
        return wanted


class _Moves(msgspec.Struct):
    moved: list[tuple[str, str]]


class _MovesEnvelope(msgspec.Struct):
    data: _Moves


class _Named(msgspec.Struct):
    """A branch names itself ``id``, what a commit did names its ``branch`` and its ``target``."""

    id: str = ""
    branch: str = ""
    target: str = ""


_moves: Final = msgspec.json.Decoder(_MovesEnvelope)
_named: Final = msgspec.json.Decoder(list[_Named] | _Named)


def _moved_tasks(data: bytes) -> list[str]:
    """None when it is said in a way this version does not know; the sweep finds them."""
    try:
        return [task for task, _ in _moves.decode(data).data.moved]
    except msgspec.DecodeError:
        return []


def _branches(data: msgspec.Raw) -> set[str]:
    try:
        found = _named.decode(data)
    except msgspec.DecodeError:
        return set()
    listed = found if isinstance(found, list) else [found]
    return {name for one in listed for name in (one.id, one.branch, one.target) if name}
