"""Subscripts: a bound of a slice missing or too many, an index from the wrong end, a slice where there is none."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit
from .numbers import is_int
from .scope import NUMBER, SEQUENCE
from .variant import ATOM, Site, Variant


def slices(site: Site) -> Iterator[Variant]:
    """A bound dropped or added; the step reversed; bounds exchanged."""
    for node in site.nodes():
        if not (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)):
            continue
        part = node.slice
        lower, upper, step = (
            site.module.source_of(b) if b is not None else "" for b in (part.lower, part.upper, part.step)
        )
        options: list[tuple[str, str, str, float]] = []
        if lower:
            options.append(("", upper, step, 0.8))
        if upper:
            options.append((lower, "", step, 0.8))
        if not lower:
            options.append(("1", upper, step, 0.8))
        if not upper:
            options.append((lower, "-1", step, 0.8))
        if lower != upper:
            options.append((upper, lower, step, 0.8))
        options.append((lower, upper, step.removeprefix("-") if step.startswith("-") else f"-{step or 1}", 0.3))
        if step:
            options.append((lower, upper, "", 0.6))
        for new_lower, new_upper, new_step, share in options:
            text = f"{new_lower}:{new_upper}" + (f":{new_step}" if new_step else "")
            yield Variant(Edit(*site.module.span(part), text), share)


def index(site: Site) -> Iterator[Variant]:
    """First for last, from the front for from the back, the whole for one element."""
    for node in site.nodes():
        if not isinstance(node, ast.Subscript) or isinstance(node.slice, ast.Slice | ast.Tuple):
            continue
        place = site.module.span(node.slice)
        text = site.module.source_of(node.slice)
        if is_int(node.slice):
            yield Variant(Edit(*place, "-1" if text == "0" else "0"), 1.0)
        elif text == "-1":
            yield Variant(Edit(*place, "0"), 1.0)
            yield Variant(Edit(*place, "-2"), 0.4)
        elif isinstance(node.slice, ast.Name | ast.BinOp):
            yield Variant(Edit(*place, f"-{text}" if isinstance(node.slice, ast.Name) else f"-({text})"), 0.3)
        if isinstance(node.ctx, ast.Load) and not isinstance(site.module.parent(node), ast.Subscript):
            yield site.replace(node, site.module.source_of(node.value), 0.3, level=ATOM)


def partial(site: Site) -> Iterator[Variant]:
    """A sequence that flows on loses its first or last element, is cut, reversed, or becomes one element."""
    for node in site.nodes():
        if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
            continue
        use = site.scopes.of(node).uses.get(node.id)
        if use is None or SEQUENCE not in use.kinds:
            continue
        if isinstance(site.module.parent(node), ast.Subscript | ast.Attribute):
            continue
        for suffix, share in (("[1:]", 1.0), ("[:-1]", 1.0), ("[0]", 0.6), ("[-1]", 0.6), ("[::-1]", 0.5)):
            yield site.replace(node, f"{node.id}{suffix}", share, level=ATOM)
        for other in site.scopes.of(node).visible_at(site.module, node):
            if NUMBER in other.kinds and not other.is_global:
                yield site.replace(node, f"{node.id}[{other.name}:]", 0.5, level=ATOM)
                yield site.replace(node, f"{node.id}[:{other.name}]", 0.5, level=ATOM)
