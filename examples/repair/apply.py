"""``--apply``: brings a committed repair back into the original directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from box_agent.agent import Agent
from examples.repair import problem
from examples.repair.problem import Problem
from schemas.tree import Change, blob_hash


async def apply_changes(agent: Agent, directory: Path, changes: list[Change]) -> list[Path]:
    """Writes each changed file, by rename, and returns the paths.

    Raises `Problem` before anything is written when a file is no longer what was imported.
    """
    for change in changes:
        target = directory / change.path
        now = blob_hash(target.read_bytes()) if target.is_file() else None
        if now != (change.before.hash if change.before else None):
            raise Problem(problem.NOT_WRITABLE, f"{target} was changed meanwhile; nothing was written, take the diff")
    written: list[Path] = []
    for change in changes:
        target = directory / change.path
        if change.after is None:
            target.unlink()
        else:
            _replace(target, await agent.blobs.get(change.after.hash))
        written.append(target)
    return written


def _replace(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if target.exists():
            Path(name).chmod(target.stat().st_mode & 0o7777)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
