"""The directory of one system: its layout, its lock, and what it remembers from run to run."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from hub.private_file import write_private
from schemas.errors import AlreadyExists, InvalidInput


class Home:
    """Paths below one directory, readable by its owner only. Holding it (``with home.held()``) is exclusive."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().absolute()
        self.lock = self.directory / "lock"
        self.connection = self.directory / "connection.json"
        self.status = self.directory / "status.json"
        self.secrets = self.directory / "secrets.json"
        self.nats = self.directory / "nats"
        self.node = self.directory / "node"
        self.logs = self.directory / "logs"

    def held(self) -> HomeLock:
        """The lock, not yet taken."""
        return HomeLock(self)

    def holder(self) -> int | None:
        """Pid of the process that holds the lock now; ``None`` when nobody does."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else 0
        else:
            return None
        finally:
            os.close(descriptor)


class HomeLock:
    """Held from ``with`` to its end, or to the death of the process, whichever is first."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Raises `AlreadyExists` with the pid of the holder, `InvalidInput` when the directory cannot be used."""
        home = self._home
        try:
            home.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidInput(
                f"home {home.directory} cannot be used: {error.strerror}; choose another with BOXHUB_HOME",
                home=str(home.directory),
            ) from error
        if not self._take():
            os.close(self._descriptor)
            pid = home.holder()
            raise AlreadyExists(
                f"a system is already running in {home.directory} (pid {pid}); "
                "end it with `boxhub down`, or choose another home with BOXHUB_HOME",
                pid=pid,
                home=str(home.directory),
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def _take(self) -> bool:
        for _ in range(5):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.01)  # somebody may only be asking who holds it
        return False

    def __exit__(self, *exc_info: object) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


@dataclass(frozen=True)
class Secrets:
    """What stays the same from one run to the next, so that agents of the last run find the next one again."""

    nats_port: int
    nats_user: str
    nats_password: str
    token: str

    @classmethod
    def load_or_make(cls, path: Path, *, free_port: int) -> Self:
        """What ``path`` says; made anew where it is missing or not ours."""
        try:
            stored = json.loads(path.read_text())
            found = cls(**{name: kind(stored[name]) for name, kind in cls._kinds().items()})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            found = cls(free_port, "boxhub", secrets.token_urlsafe(24), secrets.token_urlsafe(24))
            found.save(path)
        return found

    def save(self, path: Path) -> None:
        write_private(path, json.dumps(asdict(self)))

    @staticmethod
    def _kinds() -> dict[str, Any]:
        return {"nats_port": int, "nats_user": str, "nats_password": str, "token": str}
