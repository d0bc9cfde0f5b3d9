"""``boxhub boxes | call | send``"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from hub.cli.output import AsJson, ago, show_json, show_table
from hub.cli.session import connected
from schemas.errors import InvalidInput

Arguments = Annotated[list[str] | None, typer.Argument(help="name=value; the value is JSON, else text.")]


def boxes(
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="Also system addresses and ended boxes.")] = False,
) -> None:
    """What runs, where, and what it can do."""
    with connected() as hub:
        found = hub.get("/boxes")
    if not everything:
        found = [b for b in found if b["kind"] != "system" and b["state"] not in ("stopped", "failed")]
    if as_json:
        show_json(found)
        return
    rows = (
        (b["id"], b["kind"], b["state"], b["node"], b["isolation"], b["reaches"], b["branch"], ago(b["started_at"]),
         ", ".join(s["name"] for s in b["skills"]))
        for b in found
    )  # fmt: skip
    show_table(
        ("ADDRESS", "KIND", "STATE", "NODE", "ISOLATION", "REACHES", "BRANCH", "UP", "SKILLS"),
        rows,
        empty="no boxes; spawn one from Python, or attach an agent with box_agent.connect('name')",
    )


def call(
    box: Annotated[str, typer.Argument(help="Address of the box.")],
    skill: str,
    arguments: Arguments = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, max=3600)] = 30.0,
) -> None:
    """Call a skill and print its result as JSON: boxhub call coffee-1 buy_coffee kind=latte"""
    body = {"arguments": parse_arguments(arguments or []), "timeout_s": timeout_s}
    with connected(timeout_s=timeout_s + 10) as hub:
        show_json(hub.post(f"/boxes/{box}/skills/{skill}", body)["result"])


def send(
    box: Annotated[str, typer.Argument(help="Address of the box.")],
    data: Annotated[str, typer.Argument(help="JSON, else text.")],
    message_id: Annotated[str | None, typer.Option("--id", help="Sending the same id twice stores it once.")] = None,
) -> None:
    """Send a durable message; prints its id when it is stored."""
    with connected() as hub:
        typer.echo(hub.post(f"/boxes/{box}/messages", {"data": json_or_text(data), "id": message_id})["id"])


def parse_arguments(pairs: list[str]) -> dict[str, Any]:
    """``["n=1", "who=ada"]`` → ``{"n": 1, "who": "ada"}``. Raises `InvalidInput`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidInput(f"{pair!r} is not name=value")
        found[name] = json_or_text(value)
    return found


def json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
