"""Which turns fit into a prompt.

Pinned and system turns always; then from the newest backwards as long as they fit, without holes. An assistant
turn that calls tools and the turns that answer it are one unit, taken or left as a whole. A call nobody has
answered and an answer nobody asked for are dropped, because every model's API refuses them. What was cut may be
summarised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from context_store.conversations import rendering
from context_store.conversations.chain import Chain
from context_store.conversations.tokens import CountTokens
from schemas.conversation import Turn
from schemas.errors import InvalidInput
from schemas.part import Part

TURN_OVERHEAD: Final = 4
"""Tokens a message costs beyond its text: role and separators. OpenAI documents 3 to 4."""
IMAGE_TOKENS: Final = 1000
_WINDOW: Final = 64
_SUMMARY: Final = "summary"


class TurnSource(Protocol):
    def newest_first(self, chain: Chain, *, upto: int | None = None) -> AsyncIterator[Turn]: ...

    async def pinned(self, chain: Chain) -> list[Turn]: ...


@dataclass(frozen=True)
class Cut:
    """What is not in the prompt: how many turns, and ``turns()`` to read them, newest first."""

    count: int
    turns: Callable[[], AsyncIterator[Turn]]


Summarise = Callable[[Cut], Awaitable[str | None]]
"""Called when something was cut; its text goes into the prompt behind the pinned turns, shortened if it is too long."""


@dataclass(frozen=True)
class Budget:
    """``summary_tokens`` are set aside when there is a ``summarise`` and something is cut."""

    max_tokens: int
    count: CountTokens
    summarise: Summarise | None
    summary_tokens: int

    def cost(self, unit: Sequence[Turn]) -> int:
        images = sum((p.media_type or "").startswith("image/") for turn in unit for p in turn.parts)
        text = sum(self.count(rendering.text_of(turn)) for turn in unit)
        return text + TURN_OVERHEAD * len(unit) + IMAGE_TOKENS * images


@dataclass(frozen=True)
class Prompt:
    """``messages`` for the API, and for Anthropic its ``system``. ``tokens``: counted, at most what was allowed."""

    format: Literal["openai", "anthropic"]
    messages: list[dict[str, Any]]
    system: str
    tokens: int
    turns: list[str] = field(default_factory=list)  # ids of those in it, oldest first
    cut: int = 0  # how many were left out
    summary: str = ""

    def wire(self) -> dict[str, Any]:
        return {
            "format": self.format, "messages": self.messages, "system": self.system, "tokens": self.tokens,
            "turns": self.turns, "cut": self.cut, "summary": self.summary,
        }  # fmt: skip


async def build(source: TurnSource, chain: Chain, format: Literal["openai", "anthropic"], budget: Budget) -> Prompt:
    """The prompt. Raises `InvalidInput` if the pinned turns alone do not fit (``details["pinned_tokens"]``)."""
    if format not in ("openai", "anthropic"):
        raise InvalidInput(f"format {format!r}: use 'openai' or 'anthropic'")
    pinned = await _pinned(source, chain)
    left = budget.max_tokens - sum(budget.cost(unit) for unit in pinned)
    if left < 0:
        raise InvalidInput(
            f"the pinned turns need {budget.max_tokens - left} tokens, {budget.max_tokens} are allowed; "
            "unpin some or allow more",
            pinned_tokens=budget.max_tokens - left,
            max_tokens=budget.max_tokens,
        )
    newest = await _newest(source, chain, {turn.id for unit in pinned for turn in unit}, left, budget)
    opening = 0
    if newest.cut_depth and format == "anthropic":  # it may have to begin with a user message that says so
        opening = min(left, TURN_OVERHEAD + budget.count(rendering.CUT))
    summary: list[Turn] = []
    if newest.cut_depth:
        reserved = budget.summary_tokens if budget.summarise is not None else 0
        newest.shrink_to(left - opening - reserved)
        summary = await _summary(source, chain, [*pinned, *newest.units], newest.cut_depth, budget, left - opening)
    units = [*pinned, *([summary] if summary else []), *newest.units]
    # By depth; the summary behind the pinned turns that are older than what it stands for.
    units.sort(key=lambda unit: (unit[0].depth, unit[0].id == _SUMMARY))
    turns = [turn for unit in units for turn in unit]
    system, messages = rendering.anthropic(turns) if format == "anthropic" else ("", rendering.openai(turns))
    given = [turn.id for turn in turns if turn.id != _SUMMARY]
    return Prompt(
        format=format,
        messages=messages,
        system=system,
        tokens=sum(budget.cost(unit) for unit in units) + opening,
        turns=given,
        cut=chain.turns - len(given),
        summary=summary[0].text if summary else "",
    )


class _Newest:
    """The units taken so far, newest first. ``cut_depth``: the newest turn that is left out, 0 if none is."""

    def __init__(self) -> None:
        self.units: list[list[Turn]] = []
        self.cut_depth = 0
        self._costs: list[int] = []

    def add(self, unit: list[Turn], cost: int) -> None:
        self.units.append(unit)
        self._costs.append(cost)

    def shrink_to(self, tokens: int) -> None:
        while self.units and sum(self._costs) > tokens:
            self._costs.pop()
            self.cut_depth = max(self.cut_depth, self.units.pop()[0].depth)


async def _newest(source: TurnSource, chain: Chain, pinned: set[str], tokens: int, budget: Budget) -> _Newest:
    newest = _Newest()
    async for unit in _units(source.newest_first(chain)):
        if unit[0].id in pinned:
            continue
        cost = budget.cost(unit)
        if cost > tokens:
            newest.cut_depth = unit[0].depth
            break
        tokens -= cost
        newest.add(unit, cost)
    return newest


async def _units(turns: AsyncIterator[Turn]) -> AsyncIterator[list[Turn]]:
    """Newest first: single turns, and calls with their answers. A unit stands where its first turn does."""
    answers: dict[str, Turn] = {}
    async for turn in turns:
        if turn.role == "tool":
            answers.setdefault(turn.tool_call_id, turn)  # of several answers the newest counts
        elif turn.tool_calls:
            answered = [call for call in turn.tool_calls if call.call_id in answers]
            unit = [turn.model_copy(update={"tool_calls": answered})]
            unit += [answers.pop(call_id) for call_id in dict.fromkeys(call.call_id for call in answered)]
            if answered or turn.parts:
                yield unit
        else:
            yield [turn]


async def _pinned(source: TurnSource, chain: Chain) -> list[list[Turn]]:
    """The units that have a pinned turn in them, oldest first. Partners are looked for up to 64 turns away."""
    units: dict[str, list[Turn]] = {}
    for turn in await source.pinned(chain):
        if turn.role != "tool" and not turn.tool_calls:
            units[turn.id] = [turn]
            continue
        around: list[Turn] = []
        async for near in source.newest_first(chain, upto=turn.depth + _WINDOW):
            if near.depth < turn.depth - _WINDOW:
                break
            around.append(near)
        async for unit in _units(_replay(around)):
            if any(member.id == turn.id for member in unit):
                units[unit[0].id] = unit
    return sorted(units.values(), key=lambda unit: unit[0].depth)


async def _replay(turns: list[Turn]) -> AsyncIterator[Turn]:
    for turn in turns:
        yield turn


async def _summary(
    source: TurnSource, chain: Chain, given: list[list[Turn]], cut_depth: int, budget: Budget, left: int
) -> list[Turn]:
    """The summary of everything that is not given, as a unit; empty without one."""
    if budget.summarise is None:
        return []
    ids = {turn.id for unit in given for turn in unit}

    async def cut_turns() -> AsyncIterator[Turn]:
        async for turn in source.newest_first(chain):
            if turn.id not in ids:
                yield turn

    count = chain.turns - len(ids)
    text = await budget.summarise(Cut(count, cut_turns))
    allowed = min(budget.summary_tokens, left)
    while text:
        said = f"(summary of {count} earlier turns) {text}"
        unit = [Turn(id=_SUMMARY, role="user", depth=cut_depth, parts=[Part(text=said)])]
        if (cost := budget.cost(unit)) <= allowed:
            return unit
        text = text[: min(len(text) - 1, len(text) * allowed // cost)]
    return []
