"""Comparison operators: `<` for `<=`, `==` for `!=`, `in` for `not in`, and their kin."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit, Module, Token
from .variant import Site, Variant

SYMBOLS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}

# The boundary (`<` for `<=`) is confused far more often than the direction; the shares follow the defect list of
# the forty QuixBugs programs, where 6 of the 8 wrong comparisons are boundaries or reversals.
REPLACEMENTS: dict[str, tuple[tuple[str, float], ...]] = {
    "<": (("<=", 0.5), (">", 0.25), (">=", 0.1), ("!=", 0.1), ("==", 0.05)),
    "<=": (("<", 0.5), (">=", 0.25), (">", 0.1), ("!=", 0.05), ("==", 0.1)),
    ">": ((">=", 0.5), ("<", 0.25), ("<=", 0.1), ("!=", 0.1), ("==", 0.05)),
    ">=": ((">", 0.5), ("<=", 0.25), ("<", 0.1), ("!=", 0.05), ("==", 0.1)),
    "==": (("!=", 0.4), ("<=", 0.2), (">=", 0.2), ("<", 0.1), (">", 0.1)),
    "!=": (("==", 0.4), ("<", 0.2), (">", 0.2), ("<=", 0.1), (">=", 0.1)),
    "in": (("not in", 1.0),),
    "not in": (("in", 1.0),),
    "is": (("is not", 0.8), ("==", 0.2)),
    "is not": (("is", 0.8), ("!=", 0.2)),
}


def comparison(site: Site) -> Iterator[Variant]:
    """Replace one comparison operator of a (possibly chained) comparison."""
    for node in site.nodes():
        if isinstance(node, ast.Compare):
            left = node.left
            for operator, right in zip(node.ops, node.comparators, strict=True):
                place = operator_span(site.module, left, right, SYMBOLS[type(operator)])
                for symbol, share in REPLACEMENTS[SYMBOLS[type(operator)]]:
                    yield Variant(Edit(*place, symbol), share)
                left = right


def operator_span(module: Module, left: ast.expr, right: ast.expr, symbol: str) -> tuple[int, int]:
    """Where the operator between two operands stands; parentheses and comments around it are left alone."""
    gap = module.tokens_between(module.span(left)[1], module.span(right)[0])
    words = symbol.split()
    found: list[Token] = [token for token in gap if token.string in words][: len(words)]
    return found[0].start, found[-1].end
