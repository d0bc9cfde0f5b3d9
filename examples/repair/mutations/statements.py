"""Statements: one too many, one missing, one in the wrong place, the wrong way to leave a loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit, Module
from .scope import CALL, SEQUENCE, Use, compatible
from .variant import Site, Variant

SIMPLE = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.Expr,
    ast.Return,
    ast.Raise,
    ast.Continue,
    ast.Break,
    ast.Delete,
)


def delete_statement(site: Site) -> Iterator[Variant]:
    """The statement removed; an `if` replaced by its body; the last of a block becomes `pass`."""
    module, statement = site.module, site.statement
    if not module.owns_its_lines(statement) or not isinstance(statement, (*SIMPLE, ast.If)) or _is_docstring(statement):
        return
    label = _label(module, statement)
    if len(module.block_of(statement)) == 1:
        yield Variant(Edit(*module.span(statement), "pass"), 1.0, f"delete `{label}`")
    elif not _is_elif(module, statement):
        yield Variant(Edit(*_lines(module, statement), ""), 1.0, f"delete `{label}`")
    if isinstance(statement, ast.If) and not statement.orelse and not _is_elif(module, statement):
        body = _shifted(module, statement.body, module.indent_of(statement))
        if body is not None:
            yield Variant(Edit(*_lines(module, statement), body), 0.7, f"always run the body of `{label}`")


def duplicate_statement(site: Site) -> Iterator[Variant]:
    """A simple statement of the same function that is missing here: copied behind this one, names unchanged."""
    module, statement = site.module, site.statement
    function = module.function_of(statement)
    if function is None or not module.owns_its_lines(statement) or isinstance(statement, ast.Return | ast.Raise):
        return
    indent = module.indent_of(statement)
    _, end = _lines(module, statement)
    own = module.source_of(statement)
    seen: set[str] = set()
    for other in ast.walk(function):
        if not isinstance(other, ast.Assign | ast.AugAssign | ast.Expr | ast.Continue | ast.Break | ast.Return):
            continue
        text = module.source_of(other)
        if "\n" in text or text in seen or _is_docstring(other):
            continue
        seen.add(text)
        behind = _ended(module.text[:end], f"{indent}{text}\n")
        share = 0.5 if text == own else 1.0
        yield Variant(Edit(end, end, behind), share, f"insert `{_short(text)}` after `{_label(module, statement)}`")


def insert_statement(site: Site) -> Iterator[Variant]:
    """A statement nobody wrote yet: one of the function's with another variable in it, or `a = b` inside a loop."""
    module, statement = site.module, site.statement
    function = module.function_of(statement)
    if function is None or not module.owns_its_lines(statement) or isinstance(statement, ast.Return | ast.Raise):
        return
    uses = [use for use in site.scopes.of(statement).visible_at(module, statement) if not use.is_global]
    texts: dict[str, float] = {}
    for other in ast.walk(function):
        if isinstance(other, ast.Expr) and isinstance(other.value, ast.Call):
            texts |= dict.fromkeys(_adapted(module, other, uses), 1.0)
    if module.loops_of(statement):
        local = [use for use in uses if CALL not in use.kinds]
        texts |= {
            f"{a.name} = {b.name}": 0.5 for a in local for b in local if a is not b and compatible(a, b, "") >= 0.5
        }
    indent = module.indent_of(statement)
    _, end = _lines(module, statement)
    for text, share in texts.items():
        behind = _ended(module.text[:end], f"{indent}{text}\n")
        yield Variant(Edit(end, end, behind), share, f"insert `{_short(text)}` after `{_label(module, statement)}`")


def _adapted(module: Module, call: ast.Expr, uses: list[Use]) -> Iterator[str]:
    """A call statement with one of its arguments, or the object whose method it calls, replaced by a variable."""
    assert isinstance(call.value, ast.Call)
    start, end = module.span(call)
    text = module.text[start:end]
    if "\n" in text:
        return
    receiver = call.value.func.value if isinstance(call.value.func, ast.Attribute) else None
    for part in [*call.value.args, *([receiver] if isinstance(receiver, ast.Name) else [])]:
        first, last = module.span(part)
        for use in uses:
            if part is receiver and SEQUENCE not in use.kinds:
                continue
            if CALL not in use.kinds and module.text[first:last] != use.name:
                yield text[: first - start] + use.name + text[last - start :]


def move_statement(site: Site) -> Iterator[Variant]:
    """Out of the block it ends or begins (one level), into the block before or after it, or past its neighbour."""
    module, statement = site.module, site.statement
    if not isinstance(statement, (*SIMPLE, ast.If)) or not module.owns_its_lines(statement) or _is_docstring(statement):
        return
    if _is_elif(module, statement):
        return
    block = module.block_of(statement)
    place = block.index(statement)
    yield from _outwards(module, statement, block, place)
    yield from _inwards(module, statement, block, place)
    if place + 1 < len(block):
        following = block[place + 1]
        leaves = isinstance(following, ast.Return | ast.Raise | ast.Break | ast.Continue)
        if module.owns_its_lines(following) and not leaves:  # behind one of those nothing is run
            yield from _exchange(module, statement, following)


def jump(site: Site) -> Iterator[Variant]:
    """`break` for `continue`, `continue` for `break`, and either for a `return` inside a loop."""
    statement = site.statement
    span = site.module.span(statement)
    if isinstance(statement, ast.Break):
        yield Variant(Edit(*span, "continue"), 1.0)
        yield Variant(Edit(*span, "return"), 0.2)
    elif isinstance(statement, ast.Continue):
        yield Variant(Edit(*span, "break"), 1.0)
    elif isinstance(statement, ast.Return) and site.module.loops_of(statement):
        yield Variant(Edit(*span, "continue"), 0.5)
        yield Variant(Edit(*span, "break"), 0.5)


def _outwards(module: Module, statement: ast.stmt, block: list[ast.stmt], place: int) -> Iterator[Variant]:
    outer = module.parent(statement)
    if (
        not isinstance(outer, ast.For | ast.While | ast.If | ast.With)
        or len(block) < 2
        or not module.owns_its_lines(outer)
    ):
        return
    if isinstance(outer, ast.If) and (outer.orelse or _is_elif(module, outer)):
        return
    moved = _shifted(module, [statement], module.indent_of(outer))
    if moved is None:
        return
    label = f"move `{_label(module, statement)}` out of `{_label(module, outer)}`"
    own_start, own_end = _lines(module, statement)
    outer_start, outer_end = _lines(module, outer)
    if place == len(block) - 1:
        rest = module.text[own_end:outer_end]
        yield Variant(Edit(own_start, outer_end, rest + moved), 1.0, f"{label}, behind it")
    if place == 0:
        before = module.text[outer_start:own_start]
        yield Variant(Edit(outer_start, own_end, moved + before), 1.0, f"{label}, before it")


def _inwards(module: Module, statement: ast.stmt, block: list[ast.stmt], place: int) -> Iterator[Variant]:
    own_start, own_end = _lines(module, statement)
    for step in (-1, 1):
        if not 0 <= place + step < len(block):
            continue
        inner = block[place + step]
        if not isinstance(inner, ast.For | ast.While | ast.If) or inner.orelse or not module.owns_its_lines(inner):
            continue
        if not module.owns_its_lines(inner.body[0]) or inner.body[0].lineno == inner.lineno:
            continue
        moved = _shifted(module, [statement], module.indent_of(inner.body[0]))
        if moved is None:
            continue
        label = f"move `{_label(module, statement)}` into `{_label(module, inner)}`"
        if step < 0:
            _, inner_end = _lines(module, inner)
            between = module.text[inner_end:own_start]
            yield Variant(Edit(inner_end, own_end, _ended(module.text[:inner_end], moved) + between), 1.0, label)
        else:
            body_start, _ = _lines(module, inner.body[0])
            header = module.text[own_end:body_start]
            yield Variant(Edit(own_start, body_start, header + moved), 1.0, label)


def _exchange(module: Module, statement: ast.stmt, following: ast.stmt) -> Iterator[Variant]:
    first_start, first_end = _lines(module, statement)
    second_start, second_end = _lines(module, following)
    text = module.text
    second = text[second_start:second_end]
    swapped = (
        second + ("" if second.endswith("\n") else "\n") + text[first_end:second_start] + text[first_start:first_end]
    )
    label = f"exchange `{_label(module, statement)}` and `{_label(module, following)}`"
    yield Variant(Edit(first_start, second_end, swapped), 0.6, label)


def _lines(module: Module, statement: ast.stmt) -> tuple[int, int]:
    return module.line_span(*module.whole_lines(statement))


def _shifted(module: Module, statements: list[ast.stmt], indent: str) -> str | None:
    """The statements' lines at another depth; None where a string over several lines would change with them."""
    start = _lines(module, statements[0])[0]
    end = _lines(module, statements[-1])[1]
    old = module.indent_of(statements[0])
    if old.strip() or any("\n" in token.string for token in module.tokens_between(start, end)):
        return None
    lines = module.text[start:end].splitlines(keepends=True)
    moved = "".join(indent + line[len(old) :] if line.startswith(old) else line for line in lines)
    return moved if moved.endswith("\n") else moved + "\n"


def _ended(before: str, text: str) -> str:
    return text if before.endswith("\n") else f"\n{text}"


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_elif(module: Module, statement: ast.stmt) -> bool:
    """An `elif` is an `if` alone in the `orelse` of another, at the same depth."""
    parent = module.parent(statement)
    if not (isinstance(statement, ast.If) and isinstance(parent, ast.If) and parent.orelse == [statement]):
        return False
    return statement.col_offset == parent.col_offset


def _label(module: Module, statement: ast.stmt) -> str:
    return _short(module.source_of(statement).partition("\n")[0].rstrip(":"))


def _short(text: str) -> str:
    return text if len(text) <= 50 else text[:47] + "..."
