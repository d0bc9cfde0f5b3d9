"""``boxhub up | down | status | schema``"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from hub.cli.client import HubClient
from hub.cli.output import AsJson, console, show_json, show_table
from hub.config import HubSettings
from schemas.errors import Unavailable

Home = Annotated[Path | None, typer.Option(help="Where the system keeps its state.", show_default="BOXHUB_HOME")]


def up(
    home: Home = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of the dashboard and REST.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only the URL.")] = False,
) -> None:
    """Start nats-server, hub, node and dashboard on this machine; Ctrl-C ends them all."""
    from hub.local import run_up

    raise typer.Exit(asyncio.run(run_up(home=home, port=port, quiet=quiet)))


def down(home: Home = None) -> None:
    """End the system that runs in this home, and wait until it has."""
    from hub.local import stop

    stopped = stop(home or HubSettings().home)
    typer.echo("stopped" if stopped else "nothing was running")


def status(home: Home = None, as_json: AsJson = False) -> None:
    """Is it running, and is all of it well? Exit code 5 when not."""
    from hub.local.connection import read_connection

    place = home or HubSettings().home
    connection = read_connection(place)
    if connection is None:
        raise Unavailable(f"no hub runs in {place}; start one with 'boxhub up'")
    with HubClient(connection.gateway_url, connection.token, timeout_s=10) as hub:
        nodes, boxes = hub.get("/nodes"), hub.get("/boxes")
    url = f"{connection.gateway_url}/?token={connection.token}"
    if as_json:
        show_json({"url": url, "pid": connection.pid, "nodes": nodes, "boxes": len(boxes)})
        return
    console().print(
        Text.assemble(("running", "bold green"), f"  pid {connection.pid}\n", (url, "cyan")), soft_wrap=True
    )
    rows = (
        (n["name"], n["state"], f"{n['boxes']}/{n['max_boxes'] or '∞'}", n["attempts"],
         ", ".join(f"{d['name']} ({d['isolation']})" for d in n["drivers"] if d["available"]))
        for n in nodes
    )  # fmt: skip
    show_table(("NODE", "STATE", "BOXES", "ATTEMPTS", "DRIVERS"), rows, empty="no node is connected")


def schema() -> None:
    """Everything that goes over the wire, as JSON Schema."""
    from schemas.export import json_schema

    show_json(json_schema())
