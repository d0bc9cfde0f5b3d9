"""Which names a place in a function can use, and what each of them is used for."""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass, field
from functools import lru_cache

from .module import Function, Module

CALL, SEQUENCE, NUMBER, OBJECT = "call", "sequence", "number", "object"

# fmt: off
SEQUENCE_METHODS = frozenset({
    "append", "extend", "insert", "pop", "popleft", "appendleft", "remove", "sort", "add", "discard", "update",
    "items", "keys", "values", "index", "count",
})
# fmt: on
SEQUENCE_CALLS = frozenset(
    ("len", "sorted", "sum", "min", "max", "any", "all", "enumerate", "zip", "reversed", "set", "list", "tuple", "iter")
)
SEQUENCE_TYPES = ("list", "tuple", "set", "dict", "Sequence", "Iterable", "Mapping", "frozenset", "deque", "Collection")
NUMBER_TYPES = ("int", "float", "Decimal", "Fraction")


@dataclass(slots=True)
class Use:
    """One name of a function: what it is used as, the first line that binds it (0: a parameter or global)."""

    name: str
    bound_at: int
    kinds: set[str] = field(default_factory=set)
    annotation: str = ""
    is_global: bool = False
    is_read: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """The names of one function (those of enclosing functions and the module's variables included), in order."""

    uses: dict[str, Use]

    def visible_at(self, module: Module, node: ast.AST) -> list[Use]:
        """Names bound before the node, or bound later in a loop that also runs the node."""
        line: int = getattr(node, "lineno", 0)
        loops = module.loops_of(node)
        return [
            use
            for use in self.uses.values()
            if use.bound_at <= line or any(loop.lineno <= use.bound_at <= (loop.end_lineno or 0) for loop in loops)
        ]


def compatible(wanted: Use, other: Use, demanded: str) -> float:
    """How well `other` can stand where `wanted` stands and is used as `demanded` ("" unknown): 0 is not at all."""
    if demanded == CALL or CALL in other.kinds:
        return 1.0 if demanded == CALL and CALL in other.kinds else 0.0
    if wanted.annotation and other.annotation:
        if wanted.annotation == other.annotation:
            return 1.0
        return 0.5 if wanted.kinds & other.kinds else 0.1
    known, offered = wanted.kinds | ({demanded} - {""}), other.kinds
    if not known or not offered:
        return 0.5
    if known & offered:
        return 1.0
    return 0.1


@lru_cache(maxsize=4096)
def similarity(left: str, right: str) -> float:
    """0 (nothing in common) to 1 (the same name): people mix up names that look alike."""
    return difflib.SequenceMatcher(None, left, right, autojunk=False).ratio()


def demanded_kind(module: Module, node: ast.expr) -> str:
    """What the place of a node needs: something called, iterated, counted with, or with attributes."""
    parent = module.parent(node)
    match parent:
        case ast.Call(func=func) if func is node:
            return CALL
        case ast.Call(func=ast.Name(id=name)) if name in SEQUENCE_CALLS and len(parent.args) == 1:
            return SEQUENCE
        case ast.Call(func=ast.Name(id="range")):
            return NUMBER
        case ast.Attribute(attr=attr):
            return SEQUENCE if attr in SEQUENCE_METHODS else OBJECT
        case ast.Subscript(value=value) if value is node:
            return SEQUENCE
        case ast.Subscript(value=ast.Name()) | ast.Slice():
            return NUMBER
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated) if iterated is node:
            return SEQUENCE
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[right]) if right is node:
            return SEQUENCE
        case ast.BinOp(op=ast.Sub() | ast.Mult() | ast.Div() | ast.FloorDiv()):
            return NUMBER
        case ast.Compare(left=left, comparators=[right]) if _is_number(right) or _is_number(left):
            return NUMBER
        case _:
            return ""


class Scopes:
    """The scope of every function of a module, computed once each."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._known: dict[Function | None, Scope] = {}

    def of(self, node: ast.AST) -> Scope:
        """The scope a node is evaluated in; at module level, the module's own variables."""
        function = self._module.function_of(node)
        if function not in self._known:
            self._known[function] = self._build(function)
        return self._known[function]

    def _build(self, function: Function | None) -> Scope:
        uses: dict[str, Use] = {}
        outer = function
        while outer is not None:
            _collect_bindings(self._module, outer, uses, offset_to_start=outer is not function)
            outer = self._module.function_of(outer)
        for statement in self._module.tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                for target in ast.walk(statement):
                    if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                        bound_at = 0 if function is not None else target.lineno
                        uses.setdefault(target.id, Use(target.id, bound_at, is_global=True))
        for node in ast.walk(function or self._module.tree):
            if isinstance(node, ast.Name) and node.id in uses:
                uses[node.id].kinds |= {demanded_kind(self._module, node)} - {""}
                uses[node.id].is_read |= isinstance(node.ctx, ast.Load)
        for node in ast.walk(function or self._module.tree):
            match node:  # what is ordered against a number is one
                case ast.Compare(
                    left=ast.Name(id=left),
                    ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()],
                    comparators=[ast.Name(id=right)],
                ) if left in uses and right in uses:
                    if NUMBER in uses[left].kinds | uses[right].kinds:
                        uses[left].kinds.add(NUMBER)
                        uses[right].kinds.add(NUMBER)
        return Scope({name: use for name, use in uses.items() if name not in ("self", "cls", "_")})


def _collect_bindings(module: Module, function: Function, uses: dict[str, Use], *, offset_to_start: bool) -> None:
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        use = uses.setdefault(argument.arg, Use(argument.arg, 0))
        if argument.annotation is not None:
            use.annotation = module.source_of(argument.annotation)
            use.kinds |= _kinds_of_annotation(use.annotation)
    for variadic in (arguments.vararg, arguments.kwarg):
        if variadic is not None:
            uses.setdefault(variadic.arg, Use(variadic.arg, 0, {SEQUENCE}))
    inside_comprehensions: set[ast.AST] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inside_comprehensions.update(n for g in node.generators for n in ast.walk(g.target))
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in inside_comprehensions:
            if module.function_of(node) is not function:
                continue
            bound_at = 0 if offset_to_start else module.statement_of(node).lineno
            use = uses.setdefault(node.id, Use(node.id, bound_at))
            use.bound_at = min(use.bound_at, bound_at)
            use.kinds |= _kinds_of_value(module, node)


def _kinds_of_annotation(annotation: str) -> set[str]:
    name = annotation.partition("[")[0].strip().strip("\"'")
    if name in NUMBER_TYPES:
        return {NUMBER}
    if name in SEQUENCE_TYPES:
        return {SEQUENCE}
    return set()


def _kinds_of_value(module: Module, target: ast.Name) -> set[str]:
    """What an assignment tells about its target, from the form of the value alone."""
    statement = module.parent(target)
    if isinstance(statement, ast.AnnAssign):
        return _kinds_of_annotation(module.source_of(statement.annotation))
    if isinstance(statement, ast.For) and statement.target is target:
        match statement.iter:
            case ast.Call(func=ast.Name(id="range")):
                return {NUMBER}
        return set()
    if not isinstance(statement, ast.Assign):
        return set()
    match statement.value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return {SEQUENCE}
        case ast.Call(func=ast.Name(id="list" | "dict" | "set" | "sorted" | "deque" | "tuple" | "defaultdict")):
            return {SEQUENCE}
        case ast.Call(func=ast.Name(id="len" | "int" | "abs" | "sum" | "round" | "float")):
            return {NUMBER}
        case value if _is_number(value):
            return {NUMBER}
        case _:
            return set()


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)
