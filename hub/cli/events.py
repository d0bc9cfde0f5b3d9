"""``boxhub publish | events | deadletters``"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from hub.cli.boxes import json_or_text
from hub.cli.output import AsJson, ago, console, show_json, show_table
from hub.cli.session import connected


def publish(
    name: Annotated[str, typer.Argument(help="Event name, tokens joined by dots.")],
    data: Annotated[str, typer.Argument(help="JSON, else text.")] = "null",
) -> None:
    """Publish an event; prints its sequence number when it is stored."""
    with connected() as hub:
        typer.echo(hub.post("/events", {"name": name, "data": json_or_text(data)})["sequence"])


def events(
    pattern: Annotated[str, typer.Argument(help="'*' stands for one token, '>' at the end for the rest.")] = ">",
    from_sequence: Annotated[int | None, typer.Option("--from", min=1, help="Replay from this sequence.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=0, help="End after so many; 0 follows until Ctrl-C.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Follow events as they happen; with --from also those that did."""
    with connected() as hub:
        for number, (sequence, event) in enumerate(
            hub.follow("/events", pattern=pattern, from_sequence=from_sequence), 1
        ):
            if as_json:
                typer.echo(json.dumps({"sequence": int(sequence), **event}, ensure_ascii=False))
            else:
                data = json.dumps(event["data"], ensure_ascii=False)
                line = Text.assemble(
                    (f"{sequence:>6} ", "dim"), (event["name"], "bold cyan"), (f"  {event['sender']}  ", "dim"), data
                )
                console().print(line, soft_wrap=True)
            if number == count:
                return


def deadletters(
    box: Annotated[str | None, typer.Option(help="Only of this box.")] = None,
    redrive: Annotated[int | None, typer.Option(min=1, help="Send this one round again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Messages and events no handler could take, and why."""
    with connected() as hub:
        if redrive is not None:
            show_json(hub.post(f"/deadletters/{redrive}/redrive"))
            return
        found = hub.get("/deadletters", box=box)
    if as_json:
        show_json(found)
        return
    rows = (
        (d["sequence"], d["box"], d["subject"], d["deliveries"], ago(d["at"]), d["cause"]["message"]) for d in found
    )
    show_table(("SEQ", "BOX", "SUBJECT", "TRIES", "AGE", "CAUSE"), rows, empty="no dead letters")
