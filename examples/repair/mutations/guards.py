"""Base cases: a guard missing at the top of a function or a loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit, Function
from .returns import returned_values
from .scope import NUMBER, SEQUENCE
from .variant import Site, Variant

RESULTS = ("[]", "0", "None", "1", "False", "True")


def guard(site: Site) -> Iterator[Variant]:
    """`if not x: return …` before the first statement of a function, `if x: continue` at the top of a loop body.

    A guard goes in front of the statement it is asked for, so it is tried when that statement is suspicious.
    """
    module, statement = site.module, site.statement
    if not module.owns_its_lines(statement):
        return
    parent = module.parent(statement)
    if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef) and _is_first(parent, statement):
        for condition, share in _edge_conditions(site, parent):
            for result, weight in _results(site, parent):
                yield _insert(site, f"if {condition}:", f"return {result}", share * weight)
    elif isinstance(parent, ast.For | ast.While) and parent.body[0] is statement:
        for condition, share in _loop_conditions(site):
            yield _insert(site, f"if {condition}:", "continue", share)


def _is_first(function: Function, statement: ast.stmt) -> bool:
    body = function.body
    first = 1 if len(body) > 1 and ast.get_docstring(function, clean=False) is not None else 0
    return body[first] is statement


def _edge_conditions(site: Site, function: Function) -> Iterator[tuple[str, float]]:
    uses = site.scopes.of(site.statement).uses
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        use = uses.get(argument.arg)
        if use is None:
            continue
        if NUMBER in use.kinds:
            yield f"{use.name} <= 0", 1.0
            yield f"{use.name} <= 1", 0.7
        if SEQUENCE in use.kinds or not use.kinds:
            yield f"not {use.name}", 1.0


def _results(site: Site, function: Function) -> list[tuple[str, float]]:
    """What to return early: what the function returns elsewhere, a parameter, then the plain empty values."""
    texts = returned_values(site.module, site.statement)[:3]
    parameters = [a.arg for a in function.args.args if a.arg not in ("self", "cls")][:2]
    ranked = list(dict.fromkeys([*texts, *RESULTS[:3], *parameters, *RESULTS[3:]]))
    return [(text, 1.0 / (1 + rank)) for rank, text in enumerate(ranked)]


def _loop_conditions(site: Site) -> Iterator[tuple[str, float]]:
    module = site.module
    function = module.function_of(site.statement)
    loop = module.parent(site.statement)
    if isinstance(loop, ast.For):
        iterated = {n.id for n in ast.walk(loop.iter) if isinstance(n, ast.Name)}
        for name in (n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)):
            yield f"not {name}", 0.6
            for other in site.scopes.of(site.statement).visible_at(module, site.statement):
                if SEQUENCE in other.kinds and other.name != name and other.name not in iterated:
                    yield f"{name} in {other.name}", 0.6
    seen: set[str] = set()
    for node in ast.walk(function or module.tree):
        if isinstance(node, ast.Compare):
            text = module.source_of(node)
            if text not in seen and "\n" not in text:
                seen.add(text)
                yield text, 0.4


def _insert(site: Site, header: str, body: str, share: float) -> Variant:
    module = site.module
    indent = module.indent_of(site.statement)
    start, _ = module.line_span(*module.whole_lines(site.statement))
    step = "\t" if indent.endswith("\t") else "    "
    text = f"{indent}{header}\n{indent}{step}{body}\n"
    return Variant(Edit(start, start, text), share, f"insert `{header} {body}`")
