"""A real Podman, with images, containers and settings of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.servers.process import ServerFailed
from tests.servers.requirement import find_program

_START_S: Final = 20.0


class Podman:
    """``with Podman(directory) as podman``: ``podman.socket`` takes requests; nothing is left of it afterwards."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self.socket = directory / "api.sock"
        self._service: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Podman:
        settings = self._directory / "containers.conf"
        # runc where there is one: crun refuses machines that mount cgroups of both versions
        runtime = f'runtime = "{runc}"\n' if (runc := find_program("runc")) else ""
        settings.write_text(f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n{runtime}')
        self.start()
        return self

    def start(self) -> None:
        """Again after `kill`, with the containers and images that there were."""
        settings = self._directory / "containers.conf"
        self.socket.unlink(missing_ok=True)
        with (self._directory / "log").open("ab") as log:
            self._service = subprocess.Popen(
                [*self._command, "system", "service", "--time=0", f"unix://{self.socket}"],
                env={**os.environ, "CONTAINERS_CONF": str(settings)},
                cwd=self._directory,  # where a container runs out of memory, a file is left there
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_S
        while not self.socket.is_socket():
            if self._service.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise ServerFailed(f"podman does not serve: {(self._directory / 'log').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """The service, and none of the containers."""
        assert self._service is not None
        self._service.kill()
        self._service.wait()

    def __exit__(self, *exc_info: object) -> None:
        if self._service is not None:
            self._service.terminate()
            self._service.wait(_START_S)
        self.run("system", "reset", "--force")  # containers, images, and what is mounted for them

    def pause(self) -> None:
        """It answers nobody until `resume`."""
        assert self._service is not None
        self._service.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._service is not None
        self._service.send_signal(signal.SIGCONT)

    def run(self, *arguments: str) -> str:
        """A command on the same containers and images; what it prints."""
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    @property
    def _command(self) -> list[str]:
        # its own for all three: who shares the last with another one removes notes of that one's containers
        places = [f"--{name}={self._directory / name}" for name in ("root", "runroot", "tmpdir")]
        return [str(self._program), *places]
