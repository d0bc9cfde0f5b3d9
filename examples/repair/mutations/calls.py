"""Calls: arguments in the wrong order, too many or too few, the wrong function, a call missing around a value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit
from .scope import SEQUENCE, similarity
from .variant import ATOM, Site, Variant

# Functions and methods that stand for one another, with the same arguments.
SIBLINGS: tuple[tuple[str, ...], ...] = (
    ("min", "max"),
    ("any", "all"),
    ("sorted", "reversed", "list"),
    ("int", "round", "float"),
    ("floor", "ceil"),
    ("append", "extend"),
    ("append", "appendleft"),
    ("pop", "popleft"),
    ("add", "discard"),
    ("add", "remove"),
    ("startswith", "endswith"),
    ("lower", "upper"),
    ("strip", "lstrip", "rstrip"),
    ("find", "rfind"),
    ("index", "find"),
    ("split", "rsplit"),
    ("ljust", "rjust", "center"),
    ("keys", "values", "items"),
    ("union", "intersection", "difference", "symmetric_difference"),
    ("issubset", "issuperset"),
    ("bisect_left", "bisect_right"),
    ("heappush", "heappop"),
    ("isdigit", "isalpha", "isalnum"),
    ("isoweekday", "weekday"),
    ("partition", "rpartition"),
    ("list", "set", "tuple"),
    ("setdefault", "get"),
)

WRAPPERS_OF_SEQUENCES = (("sorted", 1.0), ("set", 0.8), ("reversed", 0.7), ("list", 0.6), ("len", 0.5), ("sum", 0.2))
WRAPPERS_OF_VALUES = (("abs", 1.0), ("int", 0.6), ("len", 0.4), ("str", 0.3), ("sorted", 0.4), ("list", 0.3))


def swap_arguments(site: Site) -> Iterator[Variant]:
    """Two positional arguments, two keyword values, two elements of a pair, or two subscripts exchanged."""
    for node in site.nodes():
        if isinstance(node, ast.Call):
            yield from _swaps(site, [a for a in node.args if not isinstance(a, ast.Starred | ast.GeneratorExp)])
            yield from _swaps(site, [k.value for k in node.keywords if k.arg is not None])
        elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) <= 4:
            yield from _swaps(site, node.elts)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Subscript):
            yield from _swaps(site, [node.value.slice, node.slice])
        elif isinstance(node, ast.IfExp):
            yield from _swaps(site, [node.body, node.orelse])


def arguments(site: Site) -> Iterator[Variant]:
    """One argument less; one more where the signature has a parameter that a name at hand is called like."""
    for node in site.nodes():
        if not isinstance(node, ast.Call):
            continue
        count = len(node.args) + len(node.keywords)
        spans = [site.module.grouped_span(a) for a in node.args] + [_keyword_span(site, k) for k in node.keywords]
        if count > 1 and not any(isinstance(a, ast.GeneratorExp) for a in node.args):
            for index in range(count - 1, 0, -1):
                yield Variant(Edit(spans[index - 1][1], spans[index][1], ""), 0.6)
            yield Variant(Edit(spans[0][0], spans[1][0], ""), 0.3)
        yield from _missing_arguments(site, node)


def function_name(site: Site) -> Iterator[Variant]:
    """The wrong function or method: its usual counterpart (`min` for `max`), or a sibling of the project."""
    for node in site.nodes():
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if not name:
            continue
        end = site.module.span(node.func)[1]
        place = (end - len(name), end)
        for group in SIBLINGS:
            if name in group:
                yield from (Variant(Edit(*place, other), 1.0) for other in group if other != name)
        if name == "pop" and isinstance(node.func, ast.Attribute):
            open_close = (end, site.module.span(node)[1])
            yield Variant(Edit(*open_close, "()" if node.args else "(0)"), 1.0)
        signatures = site.knowledge.functions if isinstance(node.func, ast.Name) else {}
        for other, signature in signatures.items():
            passed = len(node.args) + len(node.keywords)
            if other != name and name in signatures and signature.required <= passed <= len(signature.parameters):
                yield Variant(Edit(*place, other), 0.3 + 0.4 * similarity(name, other))


def wrap_call(site: Site) -> Iterator[Variant]:
    """A value that should have gone through `sorted`, `set`, `len`, `abs`, `max(…, …)` and the like."""
    for node in site.nodes():
        if not isinstance(node, ast.expr) or not _wrappable(site, node):
            continue
        source = site.module.source_of(node)
        if isinstance(node, ast.Tuple) and not source.startswith("("):
            source = f"({source})"
        sequence = _is_sequence(site, node)
        iterated = isinstance(site.module.parent(node), ast.For | ast.comprehension)
        for name, share in WRAPPERS_OF_SEQUENCES if sequence else WRAPPERS_OF_VALUES:
            if iterated and name in ("len", "sum"):
                continue  # a number cannot be iterated
            yield site.replace(node, f"{name}({source})", share, level=ATOM)
        if not sequence:
            yield from _bounded(site, node, source)
        if sequence and isinstance(node, ast.Name | ast.Attribute):
            yield site.replace(node, f"{source}.copy()", 0.4, level=ATOM)
            yield site.replace(node, f"{source}.items()", 0.2, level=ATOM)


def unwrap_call(site: Site) -> Iterator[Variant]:
    """`f(x)` becomes `x`, `x.strip()` becomes `x`, `min(a, b)` becomes `a` or `b`."""
    for node in site.nodes():
        if not isinstance(node, ast.Call) or node.keywords:
            continue
        if isinstance(site.statement, ast.Expr) and site.statement.value is node:
            continue
        for argument in node.args[:3]:
            if not isinstance(argument, ast.Starred | ast.GeneratorExp):
                yield site.replace(node, site.module.source_of(argument), 1.0 / len(node.args))
        if not node.args and isinstance(node.func, ast.Attribute):
            yield site.replace(node, site.module.source_of(node.func.value), 0.7)


def awaiting(site: Site) -> Iterator[Variant]:
    """`await` before a call of a coroutine function of the project."""
    function = site.module.function_of(site.statement)
    if not isinstance(function, ast.AsyncFunctionDef):
        return
    for node in site.nodes():
        if isinstance(node, ast.Call) and not isinstance(site.module.parent(node), ast.Await):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            signature = site.knowledge.functions.get(name) or site.knowledge.methods.get(name)
            if signature is not None and signature.is_async:
                yield site.replace(node, f"await {site.module.source_of(node)}")


def _swaps(site: Site, nodes: list[ast.expr]) -> Iterator[Variant]:
    """Every exchange of two of the nodes as one edit; neighbours first."""
    for distance in range(1, len(nodes)):
        for left, right in zip(nodes, nodes[distance:], strict=False):
            start, left_end = site.module.grouped_span(left)
            right_start, end = site.module.grouped_span(right)
            text = site.module.text
            swapped = text[right_start:end] + text[left_end:right_start] + text[start:left_end]
            yield Variant(Edit(start, end, swapped), 1.0 / distance)


def _keyword_span(site: Site, keyword: ast.keyword) -> tuple[int, int]:
    return site.module.span(keyword)[0], site.module.grouped_span(keyword.value)[1]


def _missing_arguments(site: Site, node: ast.Call) -> Iterator[Variant]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    known = site.knowledge.functions if isinstance(node.func, ast.Name) else site.knowledge.methods
    signature = known.get(name)
    if signature is None or any(isinstance(a, ast.Starred) for a in node.args):
        return
    passed = {*signature.parameters[: len(node.args)], *(k.arg for k in node.keywords)}
    uses = site.scopes.of(node).uses
    end = site.module.span(node)[1] - 1
    comma = ", " if node.args or node.keywords else ""
    for parameter in signature.parameters:
        if parameter in passed:
            continue
        if parameter in uses:
            yield Variant(Edit(end, end, f"{comma}{parameter}={parameter}"), 1.0)
        if parameter in signature.flags:
            yield Variant(Edit(end, end, f"{comma}{parameter}={not signature.flags[parameter]}"), 0.7)


def _wrappable(site: Site, node: ast.expr) -> bool:
    """Values that flow on: returned, assigned, iterated, passed or compared; constants and conditions do not."""
    if isinstance(node, ast.Constant | ast.Compare | ast.BoolOp | ast.GeneratorExp | ast.Starred | ast.Lambda):
        return False
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return False
    match site.module.parent(node):
        case ast.Return() | ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Yield() | ast.YieldFrom():
            return True
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated):
            return iterated is node
        case ast.Call() as call:
            return node is not call.func
        case ast.Compare() | ast.keyword():
            return True
        case ast.BinOp() | ast.ListComp():
            return isinstance(node, ast.Name | ast.BinOp | ast.Subscript | ast.Attribute)
        case _:
            return False


def _is_sequence(site: Site, node: ast.expr) -> bool:
    match site.module.parent(node):
        case ast.For() | ast.comprehension():
            return True
    if isinstance(node, ast.Name):
        use = site.scopes.of(node).uses.get(node.id)
        return use is not None and SEQUENCE in use.kinds
    return isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.ListComp | ast.SetComp | ast.DictComp)


def _bounded(site: Site, node: ast.expr, source: str) -> Iterator[Variant]:
    """`x = e` as `x = max(x, e)` and `min(x, e)`; any flowing value kept from falling below zero."""
    parent = site.module.parent(node)
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
        kept = parent.targets[0]
        if isinstance(kept, ast.Name | ast.Attribute | ast.Subscript):
            name = site.module.source_of(kept)
            yield site.replace(node, f"max({name}, {source})", 1.0, level=ATOM)
            yield site.replace(node, f"min({name}, {source})", 1.0, level=ATOM)
    if isinstance(parent, ast.Return | ast.Assign) or isinstance(node, ast.BinOp):
        yield site.replace(node, f"max(0, {source})", 0.7, level=ATOM)
