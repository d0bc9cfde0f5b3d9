"""A Box's code on its way into a template that nothing was loaded into."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from box_agent.drivers.forking.environment import Environment
from box_agent.drivers.forking.peers import close_all
from box_agent.drivers.forking.templates import TemplateGone, TemplateProcess
from schemas.box import BoxDefinition
from schemas.errors import BoxDied, BoxhubError

_SETUP_S: Final = 600.0


class Unclean(Exception):
    """``setup`` made something that a fork does not carry over."""


async def load(
    process: TemplateProcess,
    definition: BoxDefinition,
    seen: Environment,
    code: Path | None,
    log: Path,
    discard: Callable[[TemplateProcess], Awaitable[None]],
    *,
    set_up_in_box: bool,
) -> None:
    """Code, imports, ``setup``; what they print goes to ``log``. ``seen``: the environment as the template has it.

    Raises `Unclean`, what ``setup`` raised, `BoxDied` when the template ended meanwhile; it has been discarded then.
    """
    order = {
        "op": "load",
        "directory": str(seen.directory),
        "env": dict(seen.variables),
        "sys_path": [str(seen.directory), *map(str, seen.packages)],
        "set_up_in_box": set_up_in_box,
    }
    fds = [os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)]
    try:
        if code is not None:
            fds.append(os.open(code, os.O_RDONLY | os.O_CLOEXEC))
        answer = (await process.order(order, fds, _SETUP_S)).content
        if "unclean" in answer:
            raise Unclean(answer["unclean"])
    except BaseException as error:
        await discard(process)
        if isinstance(error, TemplateGone):
            raise BoxDied(f"the template of {definition.name!r} died while it was set up: {_tail(log)}") from error
        if isinstance(error, BoxhubError):
            error.details.update(box=definition.name, output=_tail(log))
        raise
    finally:
        close_all(tuple(fds))


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:].strip()
    except OSError:
        return ""
