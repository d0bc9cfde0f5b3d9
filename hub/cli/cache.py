"""``boxhub cache ls | prune``"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hub.cli.output import AsJson, ago, console, show_json, show_table, size, until
from hub.cli.session import connected

app = typer.Typer(help="What nodes keep so that boxes start sooner.", no_args_is_help=True)

Node = Annotated[str, typer.Option(help="Only of this node.")]


@app.command()
def ls(node: Node = "", as_json: AsJson = False) -> None:
    """Warm templates, cached layers and blobs, node by node."""
    with connected() as hub:
        found = hub.get("/cache", node=node or None)
    if as_json:
        show_json(found)
    else:
        _show(found, empty="nothing is cached")


@app.command()
def prune(
    unused_s: Annotated[
        float, typer.Option(min=0, help="Only layers that nobody used for so long; 0: warm templates too.")
    ] = 0.0,
    node: Node = "",
    as_json: AsJson = False,
) -> None:
    """Let go what no live box stands on. Nothing is lost: it is made again when it is needed."""
    with connected(timeout_s=120) as hub:
        gone = hub.post("/cache/prune", {"unused_s": unused_s, "node": node})
    if as_json:
        show_json(gone)
        return
    _show(gone, empty="nothing to prune")
    if gone:
        console().print(f"{size(sum(entry['size_bytes'] for entry in gone))} freed")


def _show(entries: list[dict[str, Any]], *, empty: str) -> None:
    rows = (
        (e["node"], e["driver"], e["kind"], e["id"].removeprefix("work-").removeprefix("pip-")[:12],
         e["prefix"][:12], size(e["size_bytes"]), ago(e["used_at"]), "yes" if e["in_use"] else "",
         until(e["expires_at"]), e["what"])
        for e in entries
    )  # fmt: skip
    columns = ("NODE", "DRIVER", "KIND", "ID", "STANDS ON", "SIZE", "USED", "IN USE", "EXPIRES", "WHAT")
    show_table(columns, rows, empty=empty)
