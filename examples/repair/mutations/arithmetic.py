"""Arithmetic: another operator, an operand left out, operands the other way round, a lost sign, augmented forms."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .comparisons import operator_span
from .module import Edit
from .variant import OPERATOR_PRECEDENCE, SUM, TERM, UNARY, Site, Variant

SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.MatMult: "@",
}

REPLACEMENTS: dict[str, tuple[tuple[str, float], ...]] = {
    "+": (("-", 1.0), ("*", 0.3)),
    "-": (("+", 1.0), ("*", 0.2), ("//", 0.1)),
    "*": (("+", 0.5), ("/", 0.4), ("//", 0.4), ("**", 0.2), ("-", 0.2)),
    "/": (("//", 1.0), ("*", 0.7), ("%", 0.2)),
    "//": (("/", 0.6), ("%", 0.6), ("*", 0.4), ("-", 0.1)),
    "%": (("//", 1.0), ("*", 0.2), ("-", 0.2)),
    "**": (("*", 1.0),),
    "&": (("|", 1.0), ("^", 0.6), ("-", 0.2)),
    "|": (("&", 1.0), ("^", 0.5), ("-", 0.2)),
    "^": (("&", 1.0), ("|", 0.6)),
    "<<": ((">>", 1.0),),
    ">>": (("<<", 1.0),),
    "@": (("*", 1.0),),
}

AUGMENTED: dict[str, tuple[tuple[str, float], ...]] = {
    "+": (("-=", 1.0), ("=", 0.8), ("*=", 0.3)),
    "-": (("+=", 1.0), ("=", 0.6), ("//=", 0.2)),
    "*": (("+=", 0.8), ("//=", 0.4), ("=", 0.3), ("/=", 0.3)),
    "/": (("//=", 1.0), ("*=", 0.6)),
    "//": (("-=", 0.6), ("%=", 0.6), ("/=", 0.5)),
    "%": (("//=", 1.0), ("-=", 0.4)),
    "&": (("|=", 1.0), ("-=", 0.3), ("^=", 0.4)),
    "|": (("&=", 1.0), ("=", 0.4), ("^=", 0.3)),
    "^": (("&=", 1.0), ("|=", 0.6)),
    "<<": ((">>=", 1.0),),
    ">>": (("<<=", 1.0),),
}


def arithmetic(site: Site) -> Iterator[Variant]:
    """Another binary operator. Where it binds tighter or looser the tree may regroup; that is a variant too."""
    for node in site.nodes():
        if isinstance(node, ast.BinOp) and not _is_text(node):
            place = operator_span(site.module, node.left, node.right, SYMBOLS[type(node.op)])
            for symbol, share in REPLACEMENTS[SYMBOLS[type(node.op)]]:
                yield Variant(Edit(*place, symbol), share)


def grouping(site: Site) -> Iterator[Variant]:
    """Parentheses that are missing or too many: `a + b * c` as `(a + b) * c`, and back."""
    for node in site.nodes():
        if not isinstance(node, ast.BinOp) or OPERATOR_PRECEDENCE[type(node.op)] not in (SUM, TERM):
            continue
        for inner in (node.left, node.right):
            if not isinstance(inner, ast.BinOp) or inner.op.__class__ is node.op.__class__:
                continue
            start, end = site.module.grouped_span(inner)
            if (start, end) != site.module.span(inner):
                yield Variant(Edit(start, end, site.module.source_of(inner)))
            elif inner is node.right:
                left, middle = site.module.grouped_span(node.left)[0], site.module.grouped_span(inner.left)[1]
                yield Variant(Edit(left, middle, f"({site.module.text[left:middle]})"))
            else:
                middle, right = site.module.grouped_span(inner.right)[0], site.module.grouped_span(node.right)[1]
                yield Variant(Edit(middle, right, f"({site.module.text[middle:right]})"))


def operands(site: Site) -> Iterator[Variant]:
    """One operand instead of both; both in the other order where the order matters."""
    for node in site.nodes():
        if not isinstance(node, ast.BinOp) or _is_text(node):
            continue
        left, right = (site.module.grouped_source_of(side) for side in (node.left, node.right))
        yield site.replace(node, site.module.source_of(node.left), 1.0)
        yield site.replace(node, site.module.source_of(node.right), 0.7)
        if not isinstance(node.op, ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor):
            level = OPERATOR_PRECEDENCE[type(node.op)]
            share = 0.3 if isinstance(node.op, ast.Add) else 1.0  # sums commute, joined sequences do not
            yield site.replace(node, f"{right} {SYMBOLS[type(node.op)]} {left}", share, level=level)


def sign(site: Site) -> Iterator[Variant]:
    """A minus taken away, or put before a returned or assigned number."""
    for node in site.nodes():
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
            yield site.replace(node, site.module.source_of(node.operand), 1.0)
        elif (
            isinstance(node, ast.Name | ast.Attribute | ast.Call)
            and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
            and isinstance(site.module.parent(node), ast.Return | ast.Assign | ast.AugAssign)
        ):
            yield site.replace(node, f"-{site.module.source_of(node)}", 0.3, level=UNARY)


def augmented(site: Site) -> Iterator[Variant]:
    """`+=` for `-=` or `=`, and `=` for `+=`."""
    node = site.statement
    if isinstance(node, ast.AugAssign):
        symbol = SYMBOLS[type(node.op)]
        place = operator_span(site.module, node.target, node.value, f"{symbol}=")
        for replacement, share in AUGMENTED.get(symbol, ()):
            yield Variant(Edit(*place, replacement), share)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(node.targets[0], ast.Tuple):
        place = operator_span(site.module, node.targets[0], node.value, "=")
        plain = isinstance(node.value, ast.Constant | ast.List | ast.Dict)
        yield Variant(Edit(*place, "+="), 0.3 if plain else 0.6)
        yield Variant(Edit(*place, "-="), 0.1 if plain else 0.2)


def _is_text(node: ast.BinOp) -> bool:
    """Joined or formatted strings: arithmetic on them is never the fix."""
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )
