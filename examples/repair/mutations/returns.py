"""Results: another variable returned, a plain value returned, the negation returned, the result of a base case."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Module
from .scope import CALL, NUMBER, SEQUENCE
from .variant import COMPARE, NOT, SUM, Site, Variant

PLAIN = ("None", "0", "1", "[]", "True", "False", "-1", '""', "[[]]")


def return_value(site: Site) -> Iterator[Variant]:
    """What a `return` or `yield` gives: a visible variable, a value other returns give, the value in a list."""
    result = _result(site.statement)
    if result is None:
        return
    source = site.module.source_of(result)
    for use in site.scopes.of(site.statement).visible_at(site.module, site.statement):
        if not use.is_global and use.name != source:
            yield site.replace(result, use.name, 1.0)
    for text in returned_values(site.module, site.statement):
        if text != source:
            yield site.replace(result, text, 0.6)
    for rank, text in enumerate(PLAIN):
        if text != source:
            yield site.replace(result, text, 0.4 / (1 + rank))
    yield from _answers(site, result)
    yield from _joined(site, result, source)
    if isinstance(result, ast.Name | ast.Call | ast.Attribute):
        yield site.replace(result, f"not {source}", 0.4, level=NOT)
    if not isinstance(result, ast.Constant | ast.GeneratorExp):
        yield site.replace(result, f"[{source}]", 0.3)


def _answers(site: Site, result: ast.expr) -> Iterator[Variant]:
    """For a constant yes or no: whether a variable is empty, zero, or not."""
    if isinstance(result, ast.Constant) and isinstance(result.value, bool):
        for use in site.scopes.of(site.statement).visible_at(site.module, site.statement):
            if not use.is_global and CALL not in use.kinds:
                yield site.replace(result, f"not {use.name}", 0.7, level=NOT)
                if NUMBER in use.kinds:
                    yield site.replace(result, f"{use.name} == 0", 0.7, level=COMPARE)


def _joined(site: Site, result: ast.expr, source: str) -> Iterator[Variant]:
    """The result joined to a sequence at hand, which was forgotten."""
    if not isinstance(result, ast.List | ast.ListComp | ast.Name | ast.Call | ast.Subscript):
        return
    for use in site.scopes.of(site.statement).visible_at(site.module, site.statement):
        if use.name != source and not use.is_global and (SEQUENCE in use.kinds or isinstance(result, ast.ListComp)):
            yield site.replace(result, f"{use.name} + {source}", 0.4, level=SUM)
            yield site.replace(result, f"{source} + {use.name}", 0.4, level=SUM)


def returned_values(module: Module, statement: ast.stmt) -> list[str]:
    """Sources of the short results of the other returns of the function, in order."""
    function = module.function_of(statement)
    if function is None:
        return []
    returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n is not statement]
    texts = [module.source_of(value) for value in returned if value is not None]
    return [text for text in dict.fromkeys(texts) if len(text) <= 40 and "\n" not in text]


def _result(statement: ast.stmt) -> ast.expr | None:
    if isinstance(statement, ast.Return):
        return statement.value
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield | ast.YieldFrom):
        return statement.value.value
    return None
