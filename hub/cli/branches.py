"""``boxhub branch ls | tree | diff | compare | log | commit | rebase | discard | tag``"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.syntax import Syntax
from rich.text import Text
from rich.tree import Tree

from hub.cli.client import HubClient
from hub.cli.output import AsJson, ago, console, show_json, show_table
from hub.cli.session import connected
from schemas.errors import BranchNotFound, InvalidInput
from schemas.tree import is_hash

app = typer.Typer(help="Workspaces and their branches: look, compare, commit, discard.", no_args_is_help=True)

Branch = Annotated[str, typer.Argument(help="Its id, or its name if no other one has it.")]
OnConflict = Annotated[
    str, typer.Option("--on-conflict", help="fail; ours: whole files of the branch; theirs: of its parent.")
]


@app.command()
def ls(
    workspace: Annotated[str | None, typer.Argument(help="Only of this workspace.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest branches, one a line."""
    with connected() as hub:
        found = hub.get("/branches", workspace=workspace, state=state, limit=limit)
    if as_json:
        show_json(found)
        return
    _list(found, empty="no branches")


@app.command()
def tree(
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


@app.command()
def diff(
    branch: Branch,
    names: Annotated[bool, typer.Option("--names", help="Only which paths changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a branch changed since its fork."""
    with connected() as hub:
        found = hub.get(f"/branches/{_id(hub, branch)}/diff", content=not names)
    if as_json:
        show_json(found)
    else:
        _show(found)


@app.command()
def compare(
    left: Branch,
    right: Annotated[str, typer.Argument(help="A branch, or the hash of a tree, as tags have.")],
    as_json: AsJson = False,
) -> None:
    """What makes the files of LEFT those of RIGHT."""
    with connected() as hub:
        found = hub.get(f"/branches/{_id(hub, left)}/compare", to=right if is_hash(right) else _id(hub, right))
    if as_json:
        show_json(found)
    else:
        _show(found)


@app.command()
def log(branch: Branch, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50, as_json: AsJson = False) -> None:
    """What was committed into a branch, the last first."""
    with connected() as hub:
        found = hub.get(f"/branches/{_id(hub, branch)}/log", limit=limit)
    if as_json:
        show_json(found)
        return
    _list(found, empty="nothing was committed into it")


@app.command()
def commit(branch: Branch, on_conflict: OnConflict = "fail", as_json: AsJson = False) -> None:
    """Merge a branch into its parent; exit code 4, and nothing is changed, when both changed the same."""
    with connected(timeout_s=130) as hub:
        result = hub.post(f"/branches/{_id(hub, branch)}/commit", {"on_conflict": on_conflict})
    if as_json:
        show_json(result)
        return
    out = console()
    how = "fast-forward" if result["fast_forward"] else "merged"
    out.print(Text(f"committed into {result['target']} ({how}, {len(result['changes'])} changes)"))
    _show(result["changes"])
    if result["superseded"]:
        stopped = len(result["cancelling"]) + len(result["stopped"])
        lost = len(result["superseded"])
        out.print(Text(f"{lost} of its race superseded; {stopped} tasks and boxes on them ended", style="dim"))


@app.command()
def rebase(branch: Branch, on_conflict: OnConflict = "fail", as_json: AsJson = False) -> None:
    """Put what a branch changed on top of what its parent is now."""
    with connected(timeout_s=130) as hub:
        moved = hub.post(f"/branches/{_id(hub, branch)}/rebase", {"on_conflict": on_conflict})
    if as_json:
        show_json(moved)
    else:
        console().print(Text(f"{moved['name'] or moved['id']} stands on {moved['base'][:12]}"))


@app.command()
def discard(branch: Branch, as_json: AsJson = False) -> None:
    """Give a branch up; its parent never knows."""
    with connected() as hub:
        gone = hub.post(f"/branches/{_id(hub, branch)}/discard", {})
    if as_json:
        show_json(gone)
    else:
        console().print(Text(f"{gone['name'] or gone['id']} is {gone['state']}"))


@app.command()
def tag(
    branch: Branch,
    name: Annotated[str | None, typer.Argument(help="Without one: the tags of its workspace.")] = None,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Take the name away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name the present files of a branch, for good."""
    with connected() as hub:
        found = hub.get(f"/branches/{_id(hub, branch)}")
        path = f"/workspaces/{found['workspace']}"
        if name is None:
            space = hub.get(path)
        elif delete:
            space = hub.post(f"{path}/untag", {"name": name})
        else:
            space = hub.post(f"{path}/tag", {"name": name, "branch": found["id"]})
    if as_json:
        show_json(space["tags"])
        return
    rows = ((key, tag["tree"], tag["by"], ago(tag["at"])) for key, tag in space["tags"].items())
    show_table(("tag", "tree", "by", "made"), rows, empty="no tags")


def _id(hub: HubClient, wanted: str) -> str:
    """Of a branch, by id or by name. Raises `BranchNotFound`, `InvalidInput` when several have the name."""
    try:
        found: str = hub.get(f"/branches/{wanted}")["id"]
        return found
    except BranchNotFound:
        named = [each for each in hub.get("/branches", limit=10_000) if each["name"] == wanted]
        if not named:
            raise
    if len(named) > 1:
        ids = ", ".join(f"{each['id']} ({each['state']})" for each in named[:5])
        raise InvalidInput(f"{len(named)} branches are named {wanted!r}: {ids}")
    one: str = named[0]["id"]
    return one


def _show(changes: list[dict[str, Any]]) -> None:
    out = console()
    for change in changes:
        if text := change.get("text"):
            out.print(Syntax(text, "diff", theme="ansi_dark", background_color="default"))
        else:
            was = f"  (was {change['from_path']})" if change.get("from_path") else ""
            out.print(Text(f"{change['kind']:<12} {change['path']}{was}"))
    if not changes:
        out.print(Text("no changes", style="dim"))


def _list(found: list[dict[str, Any]], *, empty: str) -> None:
    rows = (
        (b["name"] or "-", b["state"], b["id"], b["owner"], ago(b["ended_at"] or b["created_at"]), b["head"][:12])
        for b in found
    )
    show_table(("branch", "state", "id", "owner", "when", "head"), rows, empty=empty)


_STYLE = {"open": "cyan", "committed": "bold green", "discarded": "dim", "superseded": "dim"}


def _grow(tree: Tree, by_parent: dict[str, list[dict[str, Any]]], parent: str) -> None:
    for branch in by_parent.get(parent, ()):
        label = Text.assemble(
            (branch["name"] or branch["id"], _STYLE.get(branch["state"], "")),
            (f"  {branch['state']}  {branch['id']}  {ago(branch['created_at'])}", "dim"),
        )
        _grow(tree.add(label), by_parent, branch["id"])
