"""``boxhub branches | diff``"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.syntax import Syntax
from rich.text import Text
from rich.tree import Tree

from hub.cli.output import AsJson, ago, console, show_json
from hub.cli.session import connected


def branches(
    workspace: Annotated[str | None, typer.Argument(help="Only of this workspace.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Workspaces and their branches, as a tree."""
    with connected() as hub:
        found = hub.get("/branches", workspace=workspace, state=state, limit=10_000)
        spaces = hub.get("/workspaces")
    if as_json:
        show_json(found)
        return
    out = console()
    by_parent: dict[str, list[dict[str, Any]]] = {}
    ids = {b["id"] for b in found}
    for branch in found:
        by_parent.setdefault(branch["parent"] if branch["parent"] in ids else branch["workspace"], []).append(branch)
    for space in spaces:
        if space["id"] in by_parent:
            top = Tree(Text.assemble((space["name"], "bold"), (f"  {space['id']}", "dim")))
            _grow(top, by_parent, space["id"])
            out.print(top)
    if not found:
        out.print(Text("no branches; a workspace has its first one from the start", style="dim"))


def diff(
    branch: str,
    names: Annotated[bool, typer.Option("--names", help="Only which paths changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a branch changed since its fork."""
    with connected() as hub:
        found = hub.get(f"/branches/{branch}/diff", content=not names)
    if as_json:
        show_json(found)
        return
    out = console()
    for change in found:
        text = change.get("text")
        if names or not text:
            out.print(Text(f"{change['kind']:<12} {change['path']}"))
        else:
            out.print(Syntax(text, "diff", theme="ansi_dark", background_color="default"))
    if not found:
        out.print(Text("no changes", style="dim"))


_STYLE = {"open": "cyan", "committed": "bold green", "discarded": "dim", "superseded": "dim"}


def _grow(tree: Tree, by_parent: dict[str, list[dict[str, Any]]], parent: str) -> None:
    for branch in by_parent.get(parent, ()):
        label = Text.assemble(
            (branch["name"] or branch["id"], _STYLE.get(branch["state"], "")),
            (f"  {branch['state']}  {branch['id']}  {ago(branch['created_at'])}", "dim"),
        )
        _grow(tree.add(label), by_parent, branch["id"])
