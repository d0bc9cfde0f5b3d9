"""Literals: a boolean turned round, a number or string replaced by another of the file, another empty value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Module
from .scope import similarity
from .variant import Site, Variant

NUMBER_ALTERNATIVES = 6
STRING_ALTERNATIVES = 4


def boolean(site: Site) -> Iterator[Variant]:
    """`True` for `False` and back."""
    for node in site.nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield site.replace(node, str(not node.value))


def number(site: Site) -> Iterator[Variant]:
    """Another number of the same file: those of the same function first, then the nearest in value; halves, tenths."""
    for node in site.nodes():
        if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
            continue
        if not isinstance(node.value, int | float):
            continue
        function = site.module.function_of(node)
        near = _numbers(function) if function is not None else []
        value = node.value
        rest = sorted(_numbers(site.module.tree), key=lambda other: (abs(other - value), other))
        others = [o for o in dict.fromkeys([*near, *rest]) if o != value and type(o) is type(value)]
        for rank, other in enumerate(others[:NUMBER_ALTERNATIVES]):
            yield site.replace(node, repr(other), 1.0 / (1 + rank))
        if isinstance(value, float) or value >= 10:
            for scaled in (value * 10, value / 10):
                exact = int(scaled) if isinstance(value, int) else scaled
                if exact == scaled:
                    yield site.replace(node, repr(exact), 0.4)


def string(site: Site) -> Iterator[Variant]:
    """Another string of the same file, look-alikes first. Text for people (with spaces) is no key: it is left alone."""
    for node in site.nodes():
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_key(node.value)):
            continue
        value = node.value
        for other in _keys(site.module, value)[:STRING_ALTERNATIVES]:
            yield site.replace(node, _quoted(other, like=site.module.source_of(node)), 1.0)
        if value == "":
            yield site.replace(node, _quoted(" ", like=site.module.source_of(node)), 0.5)


def empty(site: Site) -> Iterator[Variant]:
    """The empty value of another kind: `[]`, `{}`, `0`, `None`, `[[]]`."""
    for node in site.nodes():
        options: tuple[str, ...]
        match node:
            case ast.List(elts=[], ctx=ast.Load()):
                options = ("[[]]", "{}", "None", "set()")
            case ast.Dict(keys=[]):
                options = ("[]", "set()", "None")
            case ast.List(elts=[ast.expr() as only], ctx=ast.Load()):
                options = ("[]", site.module.source_of(only))
            case ast.Constant(value=None):
                options = ("[]", "0", "False")
            case ast.Constant(value=0) if not isinstance(node.value, bool | float):
                options = ("None", "[]", "0.0")
            case _:
                continue
        assert isinstance(node, ast.expr)
        for rank, text in enumerate(options):
            yield site.replace(node, text, 1.0 / (1 + rank))


def _numbers(tree: ast.AST) -> list[int | float]:
    constants = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    return [c for c in constants if isinstance(c, int | float) and not isinstance(c, bool)]


def _keys(module: Module, value: str) -> list[str]:
    """The other keys of a file, look-alikes first."""
    constants = [n.value for n in ast.walk(module.tree) if isinstance(n, ast.Constant)]
    keys = [c for c in constants if isinstance(c, str) and c != value and _is_key(c)]
    return sorted(dict.fromkeys(keys), key=lambda other: -similarity(value, other))


def _is_key(value: str) -> bool:
    return not any(c.isspace() for c in value.strip())


def _quoted(value: str, *, like: str) -> str:
    """The literal in the quotes its neighbour uses."""
    text = repr(value)
    return text if like.startswith("'") or '"' in value or "\\" in text else f'"{text[1:-1]}"'
