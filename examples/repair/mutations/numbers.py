"""Off by one: integer constants, `range` arguments, and expressions that are compared, indexed with or returned."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Module
from .scope import NUMBER, NUMBER_TYPES, OBJECT
from .variant import SUM, Site, Variant


def off_by_one(site: Site) -> Iterator[Variant]:
    """An integer constant one higher or lower, and `+ 1` or `- 1` added to, or taken from, a counting expression."""
    for node in site.nodes():
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield from _constant(site, node, node.value)
        elif (rest := _without_one(node)) is not None:
            assert isinstance(node, ast.BinOp)
            yield site.replace(node, site.module.source_of(rest), 1.0)
        elif isinstance(node, ast.expr) and _counts(site, node):
            source = site.module.source_of(node)
            if isinstance(node, ast.IfExp | ast.BoolOp):
                source = f"({source})"
            yield site.replace(node, f"{source} + 1", 0.7, level=SUM)
            yield site.replace(node, f"{source} - 1", 0.7, level=SUM)


def offset(site: Site) -> Iterator[Variant]:
    """A count that should be taken relative to another: `f(xs, k)` as `f(xs, k - skipped)`; also squared, doubled,
    halved."""
    for node in site.nodes():
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            continue
        scope = site.scopes.of(node)
        if NUMBER not in _kinds(site, node) or not isinstance(
            site.module.parent(node), ast.Call | ast.BinOp | ast.Subscript | ast.Return | ast.Compare | ast.Assign
        ):
            continue
        if _is_called(site.module, node):
            continue
        for other in scope.visible_at(site.module, node):
            if NUMBER in other.kinds and other.name != node.id and not other.is_global:
                yield site.replace(node, f"{node.id} - {other.name}", 1.0, level=SUM)
                yield site.replace(node, f"{node.id} + {other.name}", 0.7, level=SUM)
        for text, share in ((f"{node.id} * 2", 0.4), (f"{node.id} // 2", 0.4), (f"{node.id} ** 2", 0.4)):
            yield site.replace(node, text, share)


def range_bounds(site: Site) -> Iterator[Variant]:
    """`range(n)` from one, `range(a, b)` from zero, and with the other end included."""
    for node in site.nodes():
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
            continue
        texts = [site.module.source_of(argument) for argument in node.args]
        if len(texts) == 1:
            yield site.replace(node, f"range(1, {texts[0]})", 1.0)
            yield site.replace(node, f"range(1, {texts[0]} + 1)", 0.7)
            yield site.replace(node, f"reversed(range({texts[0]}))", 0.4)
        elif len(texts) == 2:
            yield site.replace(node, f"range({texts[1]})", 0.7)
            yield site.replace(node, f"range({texts[0]} + 1, {texts[1]} + 1)", 0.5)
            yield site.replace(node, f"range({texts[0]} - 1, {texts[1]} - 1)", 0.3)


def is_int(node: ast.AST) -> bool:
    """A literal integer; `True` is not one."""
    return isinstance(node, ast.Constant) and type(node.value) is int


def _without_one(node: ast.AST) -> ast.expr | None:
    """What is left of `x + 1`, `x - 1` and `1 + x` without the one."""
    match node:
        case ast.BinOp(left=rest, op=ast.Add() | ast.Sub(), right=ast.Constant(value=1)):
            return rest
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Add(), right=rest):
            return rest
        case _:
            return None


def _constant(site: Site, node: ast.Constant, value: int) -> Iterator[Variant]:
    parent = site.module.parent(node)
    negated = isinstance(parent, ast.UnaryOp)
    # A large number is a fact about the world (86_400, 360), rarely a miscounted one.
    share = 1.0 if value <= 3 else 0.4
    yield site.replace(node, str(value + 1), share)
    is_the_one = value == 1 and isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add | ast.Sub)
    if (value > 0 or not negated) and not is_the_one:  # `x + 0` is `x`, which is tried as such
        yield site.replace(node, str(value - 1), share)


def _counts(site: Site, node: ast.expr) -> bool:
    """Whether a miscount is thinkable here: the node is a number by its form or place, and not part of a sum of one."""
    if not isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.BinOp | ast.Subscript | ast.IfExp):
        return False
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return False
    kinds = _kinds(site, node)
    if kinds and NUMBER not in kinds:
        return False
    numeric = NUMBER in kinds
    match site.module.parent(node):
        case ast.Call(func=ast.Name(id="range")) as call:
            return node is not call.func
        case ast.Slice():
            return True
        case ast.Tuple() as places if isinstance(site.module.parent(places), ast.Subscript):
            return True
        case ast.Subscript(slice=place) if place is node:
            return not isinstance(node, ast.Name) or numeric
        case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()]):
            return True
        case ast.Return() | ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.Compare() | ast.Call():
            return numeric and not _is_called(site.module, node)
        case ast.BinOp(op=ast.Mult() | ast.FloorDiv() | ast.Mod() | ast.Pow()):
            return numeric
        case _:
            return False


def _kinds(site: Site, node: ast.expr) -> set[str]:
    match node:
        case ast.Name(id=name):
            use = site.scopes.of(node).uses.get(name)
            return use.kinds if use is not None else set()
        case ast.Attribute(attr=attr):
            types = {site.knowledge.type_of(name, attr) for name in site.knowledge.classes_with(attr)} - {""}
            return {NUMBER if kind in NUMBER_TYPES else OBJECT for kind in types}
        case ast.Call(func=ast.Name(id="len" | "int" | "min" | "max" | "abs" | "round")):
            return {NUMBER}
        case ast.BinOp(op=ast.Add()):
            return _kinds(site, node.left) | _kinds(site, node.right)
        case ast.BinOp():
            return {NUMBER}
        case ast.Constant(value=int()):
            return {NUMBER}
        case _:
            return set()


def _is_called(module: Module, node: ast.expr) -> bool:
    parent = module.parent(node)
    return isinstance(parent, ast.Call) and parent.func is node
