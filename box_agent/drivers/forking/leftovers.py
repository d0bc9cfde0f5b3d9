"""What is on the disk for each live box, and the sweep of what a dead node left."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from box_agent.driver import HANDLE_VERSION
from box_agent.worker import processes

_RECORD: Final = "record.json"


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """Enough to find a box's processes again: the keeper, told by its start time from a later process of its number."""

    id: str
    keeper: int
    keeper_started: int
    version: int = HANDLE_VERSION


class BoxFolders:
    """``<home>/<box id>/`` for every live box: its record, and the directories that are private to it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(parents=True, exist_ok=True, mode=0o700)

    def make(self, box: str) -> Path:
        """Raises ``FileExistsError`` when the box is there already."""
        folder = self._home / box
        folder.mkdir(mode=0o700)
        return folder

    def record(self, box: str, keeper: int) -> None:
        record = BoxRecord(box, keeper, processes.started(keeper))
        (self._home / box / _RECORD).write_text(json.dumps(asdict(record)))

    def remove(self, box: str) -> None:
        """Whatever the box put there, read-only directories included."""
        _remove(self._home / box)

    def sweep(self) -> list[str]:
        """End every process of every box recorded here, then remove the folders: ids of those boxes. Blocking."""
        found = sorted(p.name for p in self._home.iterdir() if p.is_dir())
        for box in found:
            keeper = self._keeper(box)
            if keeper is not None:
                processes.kill_tree(keeper)
        if found:
            processes.kill_marked(frozenset(found))
        for box in found:
            self.remove(box)
        return found

    def _keeper(self, box: str) -> int | None:
        try:
            data = json.loads((self._home / box / _RECORD).read_text())
            record = BoxRecord(**data)
        except (OSError, ValueError, TypeError):
            return None  # not written yet, or by another version: the marker finds its programs
        same = record.keeper_started and processes.started(record.keeper) == record.keeper_started
        return record.keeper if same else None


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
