"""What an operator returns, and how a replacement is fitted into the expression around it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .knowledge import Knowledge
from .module import Edit, Module
from .scope import Scopes

LOWEST, IF_ELSE, OR, AND, NOT, COMPARE, BIT_OR, BIT_XOR, BIT_AND, SHIFT, SUM, TERM, UNARY, POWER, ATOM = range(15)

OPERATOR_PRECEDENCE: dict[type[ast.operator], int] = {
    ast.BitOr: BIT_OR,
    ast.BitXor: BIT_XOR,
    ast.BitAnd: BIT_AND,
    ast.LShift: SHIFT,
    ast.RShift: SHIFT,
    ast.Add: SUM,
    ast.Sub: SUM,
    ast.Mult: TERM,
    ast.MatMult: TERM,
    ast.Div: TERM,
    ast.FloorDiv: TERM,
    ast.Mod: TERM,
    ast.Pow: POWER,
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One possible edit. `share` says how likely it is among the variants of its operator in one statement;
    only the ratio counts."""

    edit: Edit
    share: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Site:
    """The place an operator is asked about: one statement of one file, and what is known of the project."""

    module: Module
    statement: ast.stmt
    scopes: Scopes
    knowledge: Knowledge

    @cached_property
    def _nodes(self) -> list[ast.AST]:
        return list(self.module.own_nodes(self.statement))

    def nodes(self) -> Iterator[ast.AST]:
        """The statement and its expressions in source order; see `Module.own_nodes`. Walked once for all operators."""
        return iter(self._nodes)

    def replace(self, node: ast.expr, text: str, share: float = 1.0, *, level: int | None = None) -> Variant:
        """Put `text` in the place of `node`, parenthesised only where it would otherwise be read differently.

        Parentheses that `node` needed and `text` does not need go with it. `level` is the precedence of `text`;
        without it `text` is parsed to find out.
        """
        if level is None:
            level = precedence(ast.parse(f"({text})", mode="eval").body)
        least = required(self.module, node)
        bare = level >= least and _fits_on_its_lines(text)
        span, grouped = self.module.span(node), self.module.grouped_span(node)
        if span == grouped:
            return Variant(Edit(*span, text if bare else f"({text})"), share)
        keyword_before = self.module.text[grouped[0] - 1 : grouped[0]].isalnum()
        if bare and precedence(node) < least and not keyword_before:
            return Variant(Edit(*grouped, text), share)
        return Variant(Edit(*span, text), share)


Operator = Callable[[Site], Iterator[Variant]]
"""Yields the variants of one kind for one statement, best first, always in the same order.

An operator never fails on valid Python and changes nothing. What it yields may be invalid or the same as
another's variant: the generator of candidates compiles and deduplicates.
"""


def precedence(node: ast.expr) -> int:
    """How tightly the outermost operator of an expression binds."""
    match node:
        case ast.Lambda() | ast.NamedExpr() | ast.Yield() | ast.YieldFrom() | ast.Starred():
            return LOWEST
        case ast.Tuple():
            return LOWEST
        case ast.IfExp():
            return IF_ELSE
        case ast.BoolOp():
            return OR if isinstance(node.op, ast.Or) else AND
        case ast.Compare():
            return COMPARE
        case ast.UnaryOp():
            return NOT if isinstance(node.op, ast.Not) else UNARY
        case ast.BinOp():
            return OPERATOR_PRECEDENCE[type(node.op)]
        case _:
            return ATOM


def _fits_on_its_lines(text: str) -> bool:
    """Whether every line break of an expression stands in brackets of its own."""
    if "\n" not in text:
        return True
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


def required(module: Module, node: ast.expr) -> int:
    """The loosest precedence that may stand in the node's place without parentheses."""
    match module.parent(node):
        case ast.BinOp() as parent:
            own = OPERATOR_PRECEDENCE[type(parent.op)]
            tighter = (node is parent.left) if isinstance(parent.op, ast.Pow) else (node is parent.right)
            return own + tighter
        case ast.UnaryOp() as parent:
            return NOT if isinstance(parent.op, ast.Not) else UNARY
        case ast.Compare():
            return BIT_OR
        case ast.BoolOp() as parent:
            return (OR if isinstance(parent.op, ast.Or) else AND) + 1
        case ast.IfExp() as parent:
            return IF_ELSE if node is parent.orelse else OR
        case ast.comprehension():
            return OR
        case ast.Starred():
            return BIT_OR
        case ast.Attribute() | ast.Await():
            return ATOM
        case ast.Subscript() as parent:
            return ATOM if node is parent.value else LOWEST
        case ast.Call() as parent:
            return ATOM if node is parent.func else IF_ELSE
        case ast.Return() | ast.Assign() | ast.Expr():
            return LOWEST
        case _:
            return IF_ELSE
