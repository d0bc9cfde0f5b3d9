"""What the members of the team tell each other: events, messages, and what they mean."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

REQUESTED = "repair.requested"
TRIED = "repair.tried"
FINISHED = "repair.finished"

PLANNER = "planner"
REVIEWER = "reviewer"


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class Requested(_Told):
    """Event: somebody please repair the root branch of a workspace."""

    run: str
    root: str  # branch id
    conversation: str
    ranking: list[tuple[str, int, float]]  # path, line, suspiciousness; most suspicious first
    sources: list[str]  # paths that may be changed
    failing: list[str]  # pytest node ids
    passing: list[str]
    failures: dict[str, str]  # node id → message, shortened
    budget: int
    parallel: int  # candidates in flight per coder
    test_timeout_s: float
    coders: list[str]  # addresses; coder i takes every i-th candidate


class Tried(_Told):
    """Event: one candidate, one branch, one run of the tests."""

    run: str
    coder: str
    number: int
    branch: str
    task: str
    path: str
    line: int
    change: str  # what was tried, for people
    outcome: Literal["green", "failed", "error", "timeout", "cancelled"]
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


class Finished(_Told):
    """Event: stop trying. ``branch`` is the committed one, empty when nobody found a repair."""

    run: str
    branch: str = ""


class Found(_Told):
    """Message, coder → planner: this branch passes everything. With ``exhausted``: I have nothing more to try."""

    run: str
    coder: str
    tried: Tried | None = None
    exhausted: bool = False


class ReviewRequest(_Told):
    """Message, planner → reviewer."""

    run: str
    conversation: str
    branch: str
    diff: str
    failing: list[str]


class Review(_Told):
    """Message, reviewer → planner."""

    run: str
    approved: bool
    remarks: list[str]
