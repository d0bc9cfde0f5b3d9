"""The Typer application and ``main``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hub.cli import boxes, branches, cache, definitions, doctor, events, system, tasks
from hub.cli.output import exit_code, show_error
from schemas.errors import BoxhubError

app = typer.Typer(
    help="boxhub: many agents, one bus, no ruined environments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    system.up, system.down, system.status, boxes.boxes, boxes.call, boxes.send, events.publish, events.events,
    tasks.submit, tasks.tasks, tasks.task, tasks.cancel, events.deadletters,
    system.schema, doctor.doctor,
):  # fmt: skip
    app.command()(command)
app.add_typer(definitions.app, name="box")
app.add_typer(branches.app, name="branch")
app.add_typer(cache.app, name="cache")


def _version(asked: bool) -> None:
    if asked:
        from hub.version import version

        typer.echo(version())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of ``boxhub``. Exit codes: `hub.cli.output.EXIT_CODES`, 130 for Ctrl-C."""
    try:
        app()
    except BoxhubError as error:
        show_error(error)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
