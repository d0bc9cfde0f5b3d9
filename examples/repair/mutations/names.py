"""The wrong name: another variable of the function, another attribute of the same object, another target."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .module import Edit
from .scope import CALL, Use, compatible, demanded_kind, similarity
from .variant import Site, Variant

ATTRIBUTE_ALTERNATIVES = 8

SAME_TYPE, OTHER_TYPE = 2.0, 0.4
"""How much likelier a member is meant whose annotation is the same, and one whose annotation is another."""

UNREAD = 3.0
"""How much likelier a variable is meant that is bound and then never read."""


def variable(site: Site) -> Iterator[Variant]:
    """A variable read becomes another variable of compatible use; look-alike names and parameters first."""
    for node in site.nodes():
        if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
            continue
        scope = site.scopes.of(node)
        wanted = scope.uses.get(node.id)
        demanded = demanded_kind(site.module, node)
        if wanted is None or demanded == CALL:
            continue
        local = {n.id for n in _comprehension_names(site, node)} - {node.id}
        others = [use for use in scope.visible_at(site.module, node) if use.name != node.id]
        others += [Use(name, 0, is_read=True) for name in sorted(local) if name not in scope.uses]
        for other in others:
            fit = compatible(wanted, other, demanded)
            if fit > 0.0:
                share = fit * (0.5 + similarity(node.id, other.name)) * (0.3 if other.is_global else 1.0)
                if not (other.is_read or other.is_global):
                    share *= UNREAD
                yield site.replace(node, other.name, share)


def target(site: Site) -> Iterator[Variant]:
    """The variable that is assigned to."""
    if not isinstance(site.statement, ast.Assign | ast.AugAssign):
        return
    targets = site.statement.targets if isinstance(site.statement, ast.Assign) else [site.statement.target]
    names = [name for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)]
    for node in names:
        if not isinstance(node.ctx, ast.Store):
            continue
        scope = site.scopes.of(node)
        wanted = scope.uses.get(node.id)
        for other in scope.visible_at(site.module, node):
            if wanted is not None and other.name != node.id and not other.is_global:
                fit = compatible(wanted, other, "")
                if fit > 0.0:
                    yield site.replace(node, other.name, fit * (0.5 + similarity(node.id, other.name)))


def attribute(site: Site) -> Iterator[Variant]:
    """`obj.start` becomes `obj.end`: members of the object's class, or else what the file reads on that object."""
    for node in site.nodes():
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        parent = site.module.parent(node)
        called = isinstance(parent, ast.Call) and parent.func is node
        place = _attribute_name_span(site, node)
        for name, share in _members_like(site, node, called=called):
            yield Variant(Edit(*place, name), share)


def receiver(site: Site) -> Iterator[Variant]:
    """`a.start` becomes `a` or `self.a` becomes `a`: an attribute access too many; or one too few."""
    for node in site.nodes():
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            parent = site.module.parent(node)
            if isinstance(parent, ast.Call) and parent.func is node:
                continue
            is_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            yield site.replace(node, site.module.source_of(node.value), 0.1 if is_self else 0.6)
            if node.attr in site.scopes.of(node).uses:
                yield site.replace(node, node.attr, 1.0)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            use = site.scopes.of(node).uses.get(node.id)
            if use is None or isinstance(site.module.parent(node), ast.Attribute):
                continue
            owner = site.module.class_of(node)
            if owner is not None and node.id in site.knowledge.data_of(owner.name):
                yield site.replace(node, f"self.{node.id}", 1.0)
            for member in site.knowledge.data_of(use.annotation.strip("\"'"))[:4]:
                yield site.replace(node, f"{node.id}.{member}", 0.4)


def _comprehension_names(site: Site, node: ast.AST) -> Iterator[ast.Name]:
    """Names bound by the comprehensions around a node."""
    for ancestor in site.module.ancestors(node):
        if isinstance(ancestor, ast.stmt):
            return
        if isinstance(ancestor, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            for generator in ancestor.generators:
                yield from (n for n in ast.walk(generator.target) if isinstance(n, ast.Name))


def _members_like(site: Site, node: ast.Attribute, *, called: bool) -> list[tuple[str, float]]:
    """Other members the receiver may have; those of the same annotated type first, then look-alikes."""
    classes = _possible_classes(site, node)
    members: dict[str, float] = {}
    for class_name in classes:
        own = site.knowledge.type_of(class_name, node.attr)
        for name in site.knowledge.methods_of(class_name) if called else site.knowledge.data_of(class_name):
            other = site.knowledge.type_of(class_name, name)
            fit = 1.0 if not own or not other else SAME_TYPE if own == other else OTHER_TYPE
            members.setdefault(name, fit * (0.5 + similarity(node.attr, name)))
    text = site.module.source_of(node.value)
    for seen in ast.walk(site.module.class_of(node) or site.module.tree):
        if isinstance(seen, ast.Attribute) and site.module.source_of(seen.value) == text:
            parent = site.module.parent(seen)
            if called == (isinstance(parent, ast.Call) and parent.func is seen):
                members.setdefault(seen.attr, 0.5 + similarity(node.attr, seen.attr))
    members.pop(node.attr, None)
    return sorted(members.items(), key=lambda member: -member[1])[:ATTRIBUTE_ALTERNATIVES]


def _possible_classes(site: Site, node: ast.Attribute) -> list[str]:
    """The class of the receiver by `self` or annotation; else every class of the project with such a member."""
    if isinstance(node.value, ast.Name):
        if node.value.id in ("self", "cls"):
            owner = site.module.class_of(node)
            return [owner.name] if owner is not None else []
        use = site.scopes.of(node).uses.get(node.value.id)
        if use is not None and use.annotation.strip("\"'") in site.knowledge.classes:
            return [use.annotation.strip("\"'")]
    return site.knowledge.classes_with(node.attr)


def _attribute_name_span(site: Site, node: ast.Attribute) -> tuple[int, int]:
    end = site.module.span(node)[1]
    return end - len(node.attr), end
