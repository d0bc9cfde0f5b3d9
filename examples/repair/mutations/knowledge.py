"""What the whole project tells an operator: the members of its classes and the signatures of its functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .module import Function, Module

PROPERTY_DECORATORS = frozenset({"property", "cached_property"})


@dataclass(slots=True)
class ClassFacts:
    """Names a class gives its instances, in order of definition, and the annotations of those that have one."""

    data: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters a caller may name, `self` left out, and which of them have a bool default."""

    parameters: tuple[str, ...]
    required: int
    flags: dict[str, bool]
    is_async: bool


class Knowledge:
    """Facts about every parsed file of a project. Built once; all look-ups are by name, not by type inference."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.classes: dict[str, ClassFacts] = {}
        self.functions: dict[str, Signature] = {}
        self.methods: dict[str, Signature] = {}
        for module in modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    self._learn_class(node)
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    is_method = isinstance(module.parent(node), ast.ClassDef)
                    known = self.methods if is_method else self.functions
                    known.setdefault(node.name, _signature(node, skip_self=is_method))

    def data_of(self, class_name: str) -> list[str]:
        """Fields and properties of a class, inherited ones last; empty when the class is not the project's."""
        return _unique(name for facts in self._lineage(class_name) for name in facts.data)

    def methods_of(self, class_name: str) -> list[str]:
        return _unique(name for facts in self._lineage(class_name) for name in facts.methods)

    def type_of(self, class_name: str, member: str) -> str:
        """The annotation of a field or property as it is written; "" where there is none."""
        return next((facts.types[member] for facts in self._lineage(class_name) if member in facts.types), "")

    def classes_with(self, member: str) -> list[str]:
        """Classes that have a member of that name, in order of definition."""
        return [n for n in self.classes if member in self.data_of(n) or member in self.methods_of(n)]

    def _lineage(self, class_name: str) -> Iterator[ClassFacts]:
        pending, seen = [class_name], set()
        while pending:
            name = pending.pop(0)
            if name in self.classes and name not in seen:
                seen.add(name)
                yield self.classes[name]
                pending += self.classes[name].bases

    def _learn_class(self, node: ast.ClassDef) -> None:
        facts = self.classes.setdefault(node.name, ClassFacts())
        facts.bases += [base.id for base in node.bases if isinstance(base, ast.Name)]
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                facts.data.append(item.target.id)
                facts.types[item.target.id] = ast.unparse(item.annotation)
            elif isinstance(item, ast.Assign):
                facts.data += [t.id for t in item.targets if isinstance(t, ast.Name)]
            elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = {d.id if isinstance(d, ast.Name) else "" for d in item.decorator_list}
                (facts.data if decorators & PROPERTY_DECORATORS else facts.methods).append(item.name)
                if decorators & PROPERTY_DECORATORS and item.returns is not None:
                    facts.types[item.name] = ast.unparse(item.returns)
                facts.data += _attributes_set_on_self(item)
        facts.data = _unique(name for name in facts.data if not name.startswith("__"))
        facts.methods = _unique(name for name in facts.methods if not name.startswith("__"))


def _attributes_set_on_self(function: Function) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                yield node.attr


def _signature(function: Function, *, skip_self: bool) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: dict[str, ast.expr] = {}
    for argument, default in zip(reversed(positional), reversed(arguments.defaults), strict=False):
        defaults[argument.arg] = default
    for argument, keyword_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if keyword_default is not None:
            defaults[argument.arg] = keyword_default
    names = [a.arg for a in [*positional, *arguments.kwonlyargs]]
    if skip_self and names and not any(_is_static(d) for d in function.decorator_list):
        names = names[1:]
    flags = {
        name: default.value
        for name, default in defaults.items()
        if isinstance(default, ast.Constant) and isinstance(default.value, bool)
    }
    required = sum(1 for name in names if name not in defaults)
    return Signature(tuple(names), required, flags, isinstance(function, ast.AsyncFunctionDef))


def _is_static(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "staticmethod"


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
