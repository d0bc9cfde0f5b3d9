"""A function's signature as pydantic sees it: the model of its arguments and the adapter of its result."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, create_model
from pydantic.json_schema import GenerateJsonSchema

from box_agent.box.context import Context
from schemas.errors import InvalidInput

Kind = Literal["sync", "async", "generator", "async_generator"]

_STREAMS: Final = (Iterator, Iterable, Generator, AsyncIterator, AsyncIterable, AsyncGenerator)
_BYTES: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_OPEN: Final = ConfigDict(extra="allow", ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    field: str  # name in the pydantic model, which must not shadow BaseModel's own attributes
    positional: bool
    positional_only: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """Everything about a skill's signature that a call needs."""

    kind: Kind
    parameters: tuple[Parameter, ...]
    arguments: type[BaseModel]
    returns: TypeAdapter[Any] | None
    wants_instance: bool
    context_parameter: str | None


def read(fn: Callable[..., Any], name: str, hints: dict[str, Any] | None = None) -> Signature:
    """The signature of ``fn``. Raises `InvalidInput` when a hint cannot be resolved or has no JSON form.

    ``hints`` were resolved before, for a function that has left the module in which its hints mean something.
    """
    hints = hints_of(fn, name) if hints is None else hints
    kind = _kind(fn)
    fields: dict[str, Any] = {}
    parameters: list[Parameter] = []
    parent: type[BaseModel] = _Closed
    wants_instance = False
    context_parameter: str | None = None
    for index, p in enumerate(inspect.signature(fn).parameters.values()):
        hint = hints.get(p.name, Any)
        if index == 0 and p.name == "self" and p.name not in hints and inspect.isfunction(fn):
            wants_instance = True
        elif _is_context(hint):
            context_parameter = p.name
        elif p.kind is p.VAR_POSITIONAL:
            raise InvalidInput(f"skill {name!r}: *{p.name} has no JSON Schema; take a list parameter instead")
        elif p.kind is p.VAR_KEYWORD:
            parent = _accepting(hint)
        else:
            field = f"p{index}"
            default = {} if p.default is p.empty else {"default": p.default}
            fields[field] = (hint, Field(alias=p.name, **default))
            parameters.append(Parameter(p.name, field, p.kind is not p.KEYWORD_ONLY, p.kind is p.POSITIONAL_ONLY))
    try:
        model = create_model(name, __base__=parent, **fields)
    except (PydanticUserError, pydantic_core.SchemaError) as error:
        raise _no_json(name, "a parameter's type", error) from error
    return Signature(
        kind=kind,
        parameters=tuple(parameters),
        arguments=model,
        returns=_returns(hints, kind, name),
        wants_instance=wants_instance,
        context_parameter=context_parameter,
    )


def input_schema(signature: Signature, name: str) -> dict[str, Any]:
    """JSON Schema of the arguments, by name."""
    try:
        schema = signature.arguments.model_json_schema(schema_generator=_Schema)
    except PydanticUserError as error:
        raise _no_json(name, "a parameter's type", error) from error
    for key in ("title", "description"):
        schema.pop(key, None)
    schema.setdefault("properties", {})
    return schema


def output_schema(signature: Signature, name: str) -> dict[str, Any] | None:
    """JSON Schema of the result (of one item, when it streams); ``None`` without a hint."""
    if signature.returns is None:
        return None
    try:
        return signature.returns.json_schema(mode="serialization", schema_generator=_Schema)
    except PydanticUserError as error:
        raise _no_json(name, "its return type", error) from error


class _Closed(BaseModel):
    """Arguments that the signature does not name are refused."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class _Schema(GenerateJsonSchema):
    """JSON Schema without the titles pydantic makes up, and quiet about defaults that JSON cannot say."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as pydantic has it

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _kind(fn: Callable[..., Any]) -> Kind:
    target: Any = fn
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    if inspect.isasyncgenfunction(target):
        return "async_generator"
    if inspect.iscoroutinefunction(target):
        return "async"
    return "generator" if inspect.isgeneratorfunction(target) else "sync"


def hints_of(fn: Callable[..., Any], name: str) -> dict[str, Any]:
    """Resolved annotations; strings are looked up where the function was written, its closure included."""
    target: Any = inspect.unwrap(fn)
    while isinstance(target, functools.partial):
        target = target.func
    target = getattr(target, "__func__", target)
    if not inspect.isroutine(target):
        target = type(target).__call__
    local: dict[str, Any] = {}
    if "Context" not in getattr(target, "__globals__", {}):
        local["Context"] = Context  # known by name where it was imported for type checkers only
    code = getattr(target, "__code__", None)
    cells = getattr(target, "__closure__", None) or ()
    for free, cell in zip(code.co_freevars if code else (), cells, strict=False):
        try:
            local[free] = cell.cell_contents
        except ValueError:
            continue  # the cell is not filled yet, so no annotation can mean it
    try:
        return typing.get_type_hints(target, localns=local, include_extras=True)
    except NameError as error:
        raise InvalidInput(
            f"skill {name!r}: a type hint cannot be resolved: {error}; define the type at module level"
        ) from error
    except TypeError:
        return {}  # builtins carry no annotations


def wants_instance(fn: Callable[..., Any]) -> bool:
    """Whether a ``setup`` is to be called with the instance of its part: its first parameter is ``self``."""
    return next(iter(inspect.signature(fn).parameters), "") == "self"


def _is_context(hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_context(a) for a in typing.get_args(hint))
    return isinstance(hint, type) and issubclass(hint, Context)


def _accepting(hint: Any) -> type[BaseModel]:
    """A model that takes any further name with values of type ``hint``: what ``**kwargs: hint`` says."""
    namespace = {
        "__annotations__": {"__pydantic_extra__": dict[str, hint]},
        "__module__": __name__,
        "model_config": _OPEN,
    }
    return type("Accepting", (BaseModel,), namespace)


def _returns(hints: dict[str, Any], kind: Kind, name: str) -> TypeAdapter[Any] | None:
    hint = hints.get("return", Any)
    if kind in ("generator", "async_generator"):
        if typing.get_origin(hint) not in _STREAMS:
            return None
        hint = typing.get_args(hint)[0]
    if hint is Any:
        return None
    try:
        return TypeAdapter(hint, config=None if _brings_config(hint) else _BYTES)
    except (PydanticUserError, pydantic_core.SchemaError) as error:
        raise _no_json(name, "its return type", error) from error


def _brings_config(hint: Any) -> bool:
    """pydantic refuses a config for types that have their own."""
    return isinstance(hint, type) and (
        issubclass(hint, BaseModel) or hasattr(hint, "__dataclass_fields__") or typing.is_typeddict(hint)
    )


def _no_json(name: str, what: str, error: Exception) -> InvalidInput:
    said = str(error).split("\n", 1)[0]
    return InvalidInput(
        f"skill {name!r}: {what} has no JSON form: {said}; use plain data, a dataclass or a pydantic model"
    )
