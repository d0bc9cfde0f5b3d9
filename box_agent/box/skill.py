"""A typed function as a skill: its `SkillSpec` from the type hints, and how a call from the wire reaches it.

`spec_of` describes, `bind` checks and calls. Both work on plain functions, methods (an unannotated first
``self`` is the instance, not an argument), coroutines, generators and async generators. One parameter may be
annotated `Context`; the platform fills it in and it is no part of the schema. `bind` costs about 1 ms (pydantic
builds a validator), a checked call a few µs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, overload

import pydantic_core
from pydantic import ValidationError

from box_agent.box import signature as signatures
from box_agent.box.context import Context
from box_agent.box.signature import Kind
from schemas.box import SkillSpec
from schemas.errors import InvalidArguments, InvalidInput

F = TypeVar("F", bound=Callable[..., Any])
Effect = Literal["none", "external"]

_MARK: Final = "__boxhub_skill__"
_NAME: Final = re.compile(r"_?[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class SkillOptions:
    """What `skill` was told beyond the function itself."""

    name: str | None = None
    description: str | None = None
    timeout_s: float | None = None
    effect: Effect = "none"
    atomic: bool = False


@overload
def skill(fn: F, /) -> F: ...
@overload
def skill(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    effect: Effect = "none",
    atomic: bool = False,
) -> Callable[[F], F]: ...
def skill(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    effect: Effect = "none",
    atomic: bool = False,
) -> Any:
    """Mark a function or method as a skill; it stays callable as it was."""
    options = SkillOptions(name, description, timeout_s, effect, atomic)

    def mark(target: F) -> F:
        setattr(target, _MARK, options)
        return target

    return mark if fn is None else mark(fn)


def options_of(fn: Any) -> SkillOptions | None:
    """What `skill` left on ``fn``; ``None`` when it is not marked."""
    found = getattr(fn, _MARK, None)
    return found if isinstance(found, SkillOptions) else None


def skill_name(fn: Any) -> str:
    """The name ``fn``, a function or a name, has as a skill. Raises `InvalidInput` when it cannot be one."""
    options = options_of(fn)
    given = fn if isinstance(fn, str) else getattr(fn, "__name__", "")
    name = str((options.name if options is not None else None) or given)
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name!r} cannot be a skill's name: use 1-63 of a-z, 0-9, '_' and '-', starting with a letter or "
            'digit; give one with @skill(name="…")',
            name=name[:100],
        )
    return name


def spec_of(fn: Callable[..., Any]) -> SkillSpec:
    """The `SkillSpec` of a function, from its signature, hints, docstring and `skill` options.

    Raises `InvalidInput` when a hint has no JSON form, or the name cannot be a skill's.
    """
    return bind(fn).spec


def bind(fn: Callable[..., Any], hints: dict[str, Any] | None = None) -> Bound:
    """A `Bound` that checks calls from the wire against the hints of ``fn`` (resolved already, if given)."""
    return Bound(fn, hints)


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments that passed the check, ready for `Bound.start`."""

    positional: list[Any]
    keywords: dict[str, Any]


class Bound:
    """A skill ready to be called.

    ``kind`` says how: `start` gives a value for ``sync``, a coroutine for ``async``, a generator or an async
    generator. Every result, or yielded item, goes through `result` before it leaves the process.
    """

    def __init__(self, fn: Callable[..., Any], hints: dict[str, Any] | None = None) -> None:
        options = options_of(fn) or SkillOptions()
        self.fn = fn
        self.name = skill_name(fn)
        self._signature = signatures.read(fn, self.name, hints)
        self.kind: Kind = self._signature.kind
        self.wants_instance = self._signature.wants_instance
        self.context_parameter = self._signature.context_parameter
        self.spec = SkillSpec(
            name=self.name,
            description=options.description or inspect.getdoc(fn) or "",
            input_schema=signatures.input_schema(self._signature, self.name),
            output_schema=signatures.output_schema(self._signature, self.name),
            streaming=self.kind in ("generator", "async_generator"),
            timeout_s=options.timeout_s,
            effect=options.effect,
            atomic=options.atomic,
        )

    def arguments(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Call:
        """Checked and converted arguments. Raises `InvalidArguments`; ``details["errors"]`` lists every fault."""
        named = self._by_name(list(args), kwargs or {})
        try:
            # JSON mode whatever came in, so that bytes, dates and strict types mean the same near and far
            values = self._signature.arguments.__pydantic_validator__.validate_json(
                pydantic_core.to_json(named, bytes_mode="base64", inf_nan_mode="constants")
            )
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise self._invalid([{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in found]) from None
        except (ValueError, RecursionError) as error:
            raise self._invalid([{"loc": [], "msg": str(error), "type": "not_json"}]) from error
        positional: list[Any] = []
        keywords: dict[str, Any] = dict(values.__pydantic_extra__ or {})
        for p in self._signature.parameters:
            if p.field not in values.__pydantic_fields_set__:
                continue  # Python's own default applies
            if p.positional_only:
                positional.append(values.__dict__[p.field])
            else:
                keywords[p.name] = values.__dict__[p.field]
        return Call(positional, keywords)

    def start(self, call: Call, *, instance: Any = None, context: Context | None = None) -> Any:
        """Call the function: gives its value, coroutine, generator or async generator, as ``kind`` says."""
        keywords = call.keywords
        if self.context_parameter is not None:
            keywords = {**keywords, self.context_parameter: context}
        if self.wants_instance:
            return self.fn(instance, *call.positional, **keywords)
        return self.fn(*call.positional, **keywords)

    def result(self, value: Any) -> Any:
        """``value`` as JSON-able data. Raises `InvalidInput` when it has no JSON form."""
        if value is None or type(value) in (str, bool, int):
            return value
        try:
            if self._signature.returns is not None:
                return self._signature.returns.dump_python(value, mode="json", warnings="none")
            return pydantic_core.to_jsonable_python(value, bytes_mode="base64")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"skill {self.name!r} returned a {type(value).__qualname__}, which has no JSON form: {error}; "
                "return plain data, a dataclass or a pydantic model",
                skill=self.name,
            ) from error

    def _by_name(self, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        places = [p.name for p in self._signature.parameters if p.positional]
        errors = [
            {"loc": [i], "msg": "Unexpected positional argument", "type": "unexpected_argument"}
            for i in range(len(places), len(args))
        ]
        named: dict[str, Any] = dict(zip(places, args, strict=False))
        for key, value in kwargs.items():
            if key in named:
                errors.append({"loc": [key], "msg": "Given by position and by name", "type": "given_twice"})
            named[key] = value
        if errors:
            raise self._invalid(errors)
        return named

    def _invalid(self, errors: list[dict[str, Any]]) -> InvalidArguments:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in errors[:5])
        more = f" and {len(errors) - 5} more" if len(errors) > 5 else ""
        return InvalidArguments(f"skill {self.name!r}: {said}{more}", skill=self.name, errors=errors)
