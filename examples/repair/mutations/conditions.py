"""Conditions: negated, joined the other way, with a clause too many or too few, or that should not be constant."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit
from .scope import SEQUENCE
from .variant import AND, NOT, OR, Site, Variant


def negation(site: Site) -> Iterator[Variant]:
    """`not` added to a condition, or taken away."""
    for node in site.nodes():
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield site.replace(node, site.module.source_of(node.operand), 1.0)
    for condition in _conditions(site):
        for node in _clauses(condition):
            if isinstance(node, ast.UnaryOp | ast.Compare | ast.Constant):
                continue  # a comparison has operators of its own; the constants are left to `loop_condition`
            source = site.module.source_of(node)
            text = f"not ({source})" if isinstance(node, ast.BoolOp | ast.IfExp | ast.NamedExpr) else f"not {source}"
            yield site.replace(node, text, 1.0, level=NOT)


def boolean_operator(site: Site) -> Iterator[Variant]:
    """`and` for `or` and back, one place at a time."""
    for node in site.nodes():
        if isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                gap = site.module.tokens_between(site.module.span(left)[1], site.module.span(right)[0])
                place = next(token for token in gap if token.string == old)
                yield Variant(Edit(place.start, place.end, new))


def fewer_clauses(site: Site) -> Iterator[Variant]:
    """One clause of an `and` or `or` left out."""
    for node in site.nodes():
        if isinstance(node, ast.BoolOp):
            joiner = " and " if isinstance(node.op, ast.And) else " or "
            level = AND if isinstance(node.op, ast.And) else OR
            texts = [site.module.grouped_source_of(value) for value in node.values]
            for dropped in range(len(texts)):
                kept = texts[:dropped] + texts[dropped + 1 :]
                if len(kept) > 1:
                    yield site.replace(node, joiner.join(kept), level=level)
                else:
                    yield site.replace(node, site.module.source_of(node.values[1 - dropped]))


def more_clauses(site: Site) -> Iterator[Variant]:
    """A condition narrowed or widened by another condition of the same function, or by a name being (un)true."""
    conditions = list(_conditions(site))
    if not conditions:
        return
    condition = conditions[0]
    own = site.module.source_of(condition)
    conjunct = f"({own})" if isinstance(condition, ast.BoolOp) and isinstance(condition.op, ast.Or) else own
    if isinstance(condition, ast.IfExp | ast.NamedExpr | ast.Lambda):
        own = conjunct = f"({own})"
    for text, share in _clauses_at_hand(site, own):
        yield site.replace(condition, f"{conjunct} and {text}", share, level=AND)
        yield site.replace(condition, f"{own} or {text}", share, level=OR)
        if not isinstance(site.statement, ast.While):
            yield site.replace(condition, f"{text} or {own}", share * 0.5, level=OR)


def loop_condition(site: Site) -> Iterator[Variant]:
    """`while True` becomes `while <a collection>`; a condition becomes constant."""
    if isinstance(site.statement, ast.While) and isinstance(site.statement.test, ast.Constant):
        for use in site.scopes.of(site.statement).visible_at(site.module, site.statement):
            if not use.is_global:
                yield site.replace(site.statement.test, use.name, 1.0 if SEQUENCE in use.kinds else 0.3)
    elif isinstance(site.statement, ast.If):
        yield site.replace(site.statement.test, "True", 0.3)
        yield site.replace(site.statement.test, "False", 0.3)


def _conditions(site: Site) -> Iterator[ast.expr]:
    if isinstance(site.statement, ast.If | ast.While | ast.Assert):
        yield site.statement.test
    for node in site.nodes():
        if isinstance(node, ast.IfExp):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
    if isinstance(site.statement, ast.Return) and isinstance(site.statement.value, ast.BoolOp | ast.Compare):
        yield site.statement.value


def _clauses(condition: ast.expr) -> Iterator[ast.expr]:
    yield condition
    if isinstance(condition, ast.BoolOp):
        yield from condition.values


def _clauses_at_hand(site: Site, own: str) -> Iterator[tuple[str, float]]:
    """Comparisons used elsewhere in the function, then visible names and their negations."""
    function = site.module.function_of(site.statement)
    if function is None:
        return
    seen = {own}
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            text = site.module.source_of(node)
            if text not in seen and text not in own and "\n" not in text:
                seen.add(text)
                yield text, 0.6
    for use in site.scopes.of(site.statement).visible_at(site.module, site.statement):
        if not use.is_global:
            weight = 1.0 if SEQUENCE in use.kinds else 0.5
            yield f"not {use.name}", weight
            yield use.name, weight
