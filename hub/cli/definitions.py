"""``boxhub box build | ls | inspect``"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from box_agent import aio
from box_agent.box.box import Box
from box_agent.live import register
from hub.cli.output import AsJson, ago, console, show_json, show_table, size, until
from hub.cli.session import bus, connected
from schemas.box import BoxDefinition, Explanation
from schemas.errors import InvalidInput
from schemas.ids import new_id

app = typer.Typer(help="Boxes as definitions: make them ready, list them, look inside.", no_args_is_help=True)

Node = Annotated[str, typer.Option(help="On this node; otherwise the one it would be spawned on.")]


@app.command()
def build(
    target: Annotated[str, typer.Argument(metavar="MODULE:NAME", help="Such as shop:coffee, or shop.py:coffee.")],
    node: Node = "",
    timeout_s: Annotated[float, typer.Option(min=1, max=3600)] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Register a Box and make it ready on a node: its first spawn is warm, and tasks may name it."""
    explanation = asyncio.run(_build(load(target), node, timeout_s))
    if as_json:
        show_json(explanation.model_dump(mode="json"))
    else:
        _show_layers(explanation)


@app.command()
def ls(as_json: AsJson = False) -> None:
    """Registered Boxes, the newest first."""
    with connected() as hub:
        found = [BoxDefinition.model_validate(row) for row in hub.get("/definitions")]
    if as_json:
        show_json([definition.model_dump(mode="json") for definition in found])
        return
    rows = (
        (d.name, d.version, d.fingerprint[:12], " + ".join(d.parts), len(d.steps), ", ".join(s.name for s in d.skills))
        for d in found
    )
    show_table(
        ("BOX", "VERSION", "FINGERPRINT", "PARTS", "STEPS", "SKILLS"),
        rows,
        empty="no Box is registered; 'boxhub box build MODULE:NAME' does it, and so does every spawn",
    )


@app.command()
def inspect(
    target: Annotated[str, typer.Argument(metavar="NAME", help="Of a registered Box, or MODULE:NAME.")],
    node: Node = "",
    as_json: AsJson = False,
) -> None:
    """Layers, fingerprints, skills and grants of a Box, and what of it is cached. MODULE:NAME needs no hub."""
    if ":" in target:
        box = load(target)
        definition, explanation = box.pack()[0], box.explain()
    else:
        with connected() as hub:
            definition = BoxDefinition.model_validate(hub.get(f"/definitions/{target}"))
            explanation = Explanation.model_validate(hub.get(f"/definitions/{target}/explanation", node=node))
    if as_json:
        found = {"definition": definition.model_dump(mode="json"), "explanation": explanation.model_dump(mode="json")}
        show_json(found)
        return
    _show_layers(explanation)
    rows = ((s.name, s.part, _signature(s.input_schema), "yes" if s.streaming else "", ", ".join(s.secrets),
             s.description.partition("\n")[0]) for s in definition.skills)  # fmt: skip
    show_table(("SKILL", "PART", "TAKES", "STREAMS", "SECRETS", "WHAT"), rows, empty="no skills")
    for what, value in (("env", definition.env), ("resources", definition.resources.model_dump(exclude_none=True)),
                        ("policy", definition.policy.wire())):  # fmt: skip
        if value:
            console().print(Text.assemble((f"{what}: ", "bold"), ", ".join(f"{k}={v}" for k, v in value.items())))


def load(target: str) -> Box:
    """The Box at ``module:name`` or ``file.py:name``, found from the current directory. Raises `InvalidInput`."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise InvalidInput(f"{target!r} is not MODULE:NAME, such as shop:coffee or shop.py:coffee")
    value: Any = _module(place)
    for attribute in name.split("."):
        if not hasattr(value, attribute):
            raise InvalidInput(f"{place!r} has no {name!r}")
        value = getattr(value, attribute)
    if isinstance(value, type) and issubclass(value, Box):
        value = value()
    if not isinstance(value, Box):
        raise InvalidInput(f"{target} is a {type(value).__name__}, not a Box")
    return value


def _module(place: str) -> Any:
    """Code of the user, who asked for it to be run."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        name = Path(place).stem.replace("-", "_")
        spec = importlib.util.spec_from_file_location(name, place)
        if spec is None or spec.loader is None or not Path(place).is_file():
            raise InvalidInput(f"there is no file {place!r}")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except (ImportError, SyntaxError, NameError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{place!r} cannot be imported: {type(error).__name__}: {error}") from error


async def _build(box: Box, node: str, timeout_s: float) -> Explanation:
    url, tenant = bus()
    async with aio.connect(new_id("cli"), url=url, tenant=tenant) as agent:
        definition = await register(agent, box)
        there = await agent.boxes.build(definition.name, node=node, timeout_s=timeout_s)
    return there


def _show_layers(explanation: Explanation) -> None:
    asked = f"on node {explanation.node}" if explanation.node else "no node was asked what it has cached"
    console().print(
        Text.assemble(
            (explanation.name, "bold"),
            f"  {explanation.fingerprint[:12]}  {explanation.platform}  {' + '.join(explanation.parts)}\n",
            (asked, "dim"),
        )
    )
    rows = (
        (layer.fingerprint[:12], layer.kind, _cached(layer.cached), until(layer.expires_at), layer.impure, layer.what)
        for layer in explanation.layers
    )
    show_table(("LAYER", "KIND", "CACHED", "EXPIRES", "IMPURE", "WHAT"), rows, empty="nothing in it")
    if explanation.templates:
        standing = (
            (t.fingerprint[:12], " + ".join(t.parts), "yes" if t.warm else "no", t.prefix[:12],
             size(t.memory_bytes) if t.warm else "", ago(t.used_at) if t.warm else "", t.why)
            for t in explanation.templates
        )  # fmt: skip
        show_table(("TEMPLATE", "PARTS", "WARM", "STANDS ON", "MEMORY", "USED", "WHY NOT"), standing, empty="")
    for note in explanation.notes:
        console().print(Text.assemble(("note: ", "yellow"), note), soft_wrap=True)


def _cached(cached: bool | None) -> str:
    return "" if cached is None else "yes" if cached else "no"


def _signature(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    return ", ".join(name if name in required else f"{name}?" for name in schema.get("properties", {}))
