"""``boxhub tasks | task | cancel``"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from hub.cli.boxes import Arguments, parse_arguments
from hub.cli.output import AsJson, ago, console, show_json, show_table
from hub.cli.session import connected
from schemas.task import TERMINAL


def tasks(
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest tasks."""
    with connected() as hub:
        found = hub.get("/tasks", state=state, limit=limit)
    if as_json:
        show_json(found)
        return
    rows = (
        (t["id"], t["state"], t["spec"]["box"], t["spec"]["skill"], len(t["attempts"]), ago(t["created_at"]), _why(t))
        for t in found
    )
    show_table(("TASK", "STATE", "BOX", "SKILL", "TRIES", "AGE", "WHY"), rows, empty="no tasks")


def task(
    task_id: Annotated[str, typer.Argument(metavar="TASK")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Show its updates until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """One task: state, attempts, result; with -f its updates as they happen."""
    with connected() as hub:
        if follow:
            for _, update in hub.follow(f"/tasks/{task_id}/stream"):
                _show_update(update, as_json=as_json)
        found = hub.get(f"/tasks/{task_id}")
        told = hub.get(f"/tasks/{task_id}/explain") if not as_json and found["state"] not in TERMINAL else {}
    if as_json:
        show_json(found)
        return
    out = console()
    out.print(
        Text.assemble((found["id"], "bold"), f"  {found['state']}  {found['spec']['box']}.{found['spec']['skill']}")
    )
    rows = (
        (
            a["number"],
            a["state"],
            a["runner"],
            a["box"],
            ago(a["started_at"] or 0),
            (a["error"] or {}).get("message", ""),
        )
        for a in found["attempts"]
    )
    show_table(("TRY", "STATE", "RUNNER", "BOX", "STARTED", "ERROR"), rows, empty="not started")
    _explain(told)
    if found["error"]:
        out.print(Text(f"{found['error']['code']}: {found['error']['message']}", style="red"), soft_wrap=True)
    if found["result"] is not None:
        show_json(found["result"])


def cancel(
    task_id: Annotated[str, typer.Argument(metavar="TASK")],
    reason: Annotated[str, typer.Option(help="Kept in the task's record.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait until it is proved that it stopped.")] = True,
) -> None:
    """Cancel a task; says so only when the process that ran it has ended."""
    with connected() as hub:
        found = hub.post(f"/tasks/{task_id}/cancel", {"reason": reason})
        if wait:
            for _ in hub.follow(f"/tasks/{task_id}/stream", after=found["updates"]):
                pass
            found = hub.get(f"/tasks/{task_id}")
    typer.echo(f"{found['id']} {found['state']}")


def submit(
    box: Annotated[str, typer.Argument(help="Address, or name of a registered Box.")],
    skill: str,
    arguments: Arguments = None,
    task_id: Annotated[str, typer.Option("--id", help="Submitting the same id twice is one task.")] = "",
    branch: Annotated[str, typer.Option(help="Run it on this branch's files.")] = "",
) -> None:
    """Submit a durable task; prints its id when it is accepted."""
    spec = {"id": task_id, "box": box, "skill": skill, "arguments": parse_arguments(arguments or []), "branch": branch}
    with connected() as hub:
        typer.echo(hub.post("/tasks", spec)["id"])


def _why(found: dict[str, Any]) -> str:
    error = found.get("error") or {}
    return str(found.get("pending") or error.get("message", ""))


def _explain(told: dict[str, Any]) -> None:
    """Why a task that has not ended is where it is."""
    if not told:
        return
    place = f" (number {told['position']} of {told['waiting']} that wait)" if "position" in told else ""
    console().print(Text(f"{told['why']}{place}"), soft_wrap=True)
    for node, reason in told.get("nodes", {}).items():
        console().print(Text.assemble(f"  {node}: ", (reason, "dim")), soft_wrap=True)


def _show_update(update: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(update, ensure_ascii=False))
        return
    data = "" if update["data"] is None else json.dumps(update["data"], ensure_ascii=False)
    kind = update["state"] if update["kind"] == "state" else update["kind"]
    console().print(Text.assemble((f"{update['number']:>4} ", "dim"), (f"{kind:<10} ", "bold"), data), soft_wrap=True)
