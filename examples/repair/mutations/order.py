"""The order in which candidates are tried."""

from __future__ import annotations

import ast
import heapq
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .candidate import Candidate, describe
from .catalogue import HIGHEST_PRIOR, OPERATORS
from .knowledge import Knowledge
from .module import Edit, Module
from .scope import Scopes
from .variant import Site, Variant

SHARPNESS = 2.0
"""Exponent on the suspicion score: how much more a line twice as suspicious is worth."""

TIE_DECAY = 0.02
"""Loss per place in the ranking: lines of equal score keep the ranking's order without shutting out the rest."""


class Ranked(NamedTuple):
    """A line and its suspicion, as `suspicious.rank` gives it."""

    path: str
    line: int
    score: float


class _Suspect(NamedTuple):
    module: Module
    statement: ast.stmt
    worth: float


def candidates(sources: Mapping[str, str], ranking: Iterable[tuple[str, int, float]]) -> Iterator[Candidate]:
    """Every candidate for the suspicious lines, most promising first; the order depends on the arguments alone.

    `sources` maps paths to file contents: the whole project without its tests, for a file that is in no ranking
    still tells classes and signatures. `ranking` holds (path, line, score), best first, scores in 0..1; lines
    outside `sources` and with score 0 are ignored. A file that does not parse has no candidates.

    A candidate's weight is score^2 x prior of its operator x its share among the operator's variants in that
    statement. So a line's likely edits precede its unlikely ones, and the likely edits of the next line precede
    the unlikely ones of this. Lazy: a statement is mutated only when it can hold the next candidate, an edit is
    compiled only when its turn has come.
    """
    modules = _parse(sources)
    knowledge = Knowledge(modules.values())
    scopes = {path: Scopes(module) for path, module in modules.items()}
    seen = {(path, module.text) for path, module in modules.items()}
    heap: list[tuple[float, int, str, str, Variant]] = []
    serial = 0
    for suspect in _suspects(modules, ranking):
        while heap and -heap[0][0] >= suspect.worth * HIGHEST_PRIOR:
            yield from _built(modules, heapq.heappop(heap), seen)
        path = suspect.module.path
        site = Site(suspect.module, suspect.statement, scopes[path], knowledge)
        for weight, name, variant in _weighed(site, suspect.worth):
            serial += 1  # equal weights keep the order of lines and operators
            heapq.heappush(heap, (-weight, serial, path, name, variant))
    while heap:
        yield from _built(modules, heapq.heappop(heap), seen)


def _parse(sources: Mapping[str, str]) -> dict[str, Module]:
    modules: dict[str, Module] = {}
    for path in sorted(sources):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                modules[path] = Module(path, sources[path])
        except (SyntaxError, ValueError):
            continue  # ValueError: a null byte; the test run reports such a file far better than we could
    return modules


def _suspects(modules: Mapping[str, Module], ranking: Iterable[tuple[str, int, float]]) -> list[_Suspect]:
    """Statements with the score of their most suspicious line (of a compound statement: of its header), best first."""
    places: dict[tuple[str, int], tuple[float, int]] = {}
    for position, (path, line, score) in enumerate(ranking):
        if score > 0.0:
            places.setdefault((path, line), (score, position))
    found: list[tuple[float, int, int, Module, ast.stmt]] = []
    for path, module in modules.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.stmt):
                ranked = [places[path, n] for n in _header_lines(node) if (path, n) in places]
                if ranked:
                    score, position = min(ranked, key=lambda place: (-place[0], place[1]))
                    found.append((-score, position, node.lineno, module, node))
    found.sort(key=lambda entry: entry[:3])
    return sorted(
        (
            _Suspect(module, statement, (-negative) ** SHARPNESS / (1.0 + TIE_DECAY * index))
            for index, (negative, _, _, module, statement) in enumerate(found)
        ),
        key=lambda suspect: -suspect.worth,
    )


def _header_lines(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    if isinstance(body, list) and body and body[0].lineno > statement.lineno:
        last = body[0].lineno - 1
    return range(statement.lineno, last + 1)


def _weighed(site: Site, worth: float) -> Iterator[tuple[float, str, Variant]]:
    for name, prior, operator in OPERATORS:
        variants: dict[Edit, Variant] = {}
        for variant in operator(site):
            variants.setdefault(variant.edit, variant)
        total = sum(variant.share for variant in variants.values())
        for variant in variants.values():
            yield worth * prior * variant.share / total, name, variant


def _built(
    modules: Mapping[str, Module], entry: tuple[float, int, str, str, Variant], seen: set[tuple[str, str]]
) -> Iterator[Candidate]:
    """The candidate of a heap entry, unless its result is known already or is not Python."""
    negative_weight, _, path, operator, variant = entry
    module = modules[path]
    source = variant.edit.apply(module.text)
    if (path, source) in seen:
        return
    seen.add((path, source))
    if not _compiles(path, source):
        return
    description = variant.note or describe(module, variant.edit)
    line = module.line_of(variant.edit.start)
    yield Candidate(path, line, operator, description, source, variant.edit, -negative_weight)


def _compiles(path: str, source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True
