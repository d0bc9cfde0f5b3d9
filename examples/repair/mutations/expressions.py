"""An expression that stands elsewhere in the same function is often the one that was meant here."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .scope import similarity
from .variant import Site, Variant

ALTERNATIVES = 6
LONGEST = 60


def reuse(site: Site) -> Iterator[Variant]:
    """A compound value (attribute, subscript, call, sum) replaced by another expression of the function.

    The observation behind it, that fixes are mostly made of code already in the file, is the "plastic surgery
    hypothesis" of Barr et al. (FSE 2014).
    """
    module = site.module
    function = module.function_of(site.statement)
    if function is None:
        return
    at_hand = [n for n in ast.walk(function) if isinstance(n, ast.expr) and _is_value(site, n)]
    texts = list(dict.fromkeys(module.source_of(node) for node in at_hand))
    for node in site.nodes():
        if not isinstance(node, ast.expr) or not _is_value(site, node):
            continue
        own = module.source_of(node)
        others = [t for t in texts if t != own and own not in t and t not in own]
        for text in sorted(others, key=lambda other: -similarity(own, other))[:ALTERNATIVES]:
            yield site.replace(node, text, 0.2 + similarity(own, text))


def _is_value(site: Site, node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.BinOp):
        return False
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return False
    parent = site.module.parent(node)
    if isinstance(parent, ast.Call | ast.Expr | ast.Attribute) and getattr(parent, "func", node) is node:
        return False
    if isinstance(parent, ast.arg | ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef | ast.FormattedValue):
        return False
    source = site.module.source_of(node)
    return (
        len(source) <= LONGEST
        and "\n" not in source
        and not any(isinstance(a, ast.JoinedStr) for a in site.module.ancestors(node))
    )
