"""A `Hostile` that was granted a port and a directory, and makes of it more than it was given."""

# ruff: noqa: PTH115, PTH208 - see `hostile`

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from box_agent import skill
from tests.escape.hostile import Facts, Held, Hostile, _kernel

TARGET = "/data"
"""Where the granted directory is, in the box."""


class Granted(Hostile):
    @skill
    def misuse(self, case: str, facts: Facts) -> str:
        """What the attack gave, or ``held: …``."""
        try:
            return f"ESCAPED: {GRANTED[case](facts)!r}"
        except (OSError, Held) as error:
            return f"held: {error}"

    @skill
    def use(self, facts: Facts) -> str:
        """What was granted."""
        with socket.create_connection(("127.0.0.1", facts["granted_port"]), 5) as sock:
            return sock.recv(100).decode() + Path(TARGET, "data.txt").read_text()


# --- a port -------------------------------------------------------------------------------------------------------


def reach_it_by_another_loopback_address(facts: Facts) -> Any:
    return socket.create_connection(("127.0.0.2", facts["granted_port"]), 2).getpeername()


def reach_it_by_the_newer_protocol(facts: Facts) -> Any:
    return socket.create_connection(("::1", facts["granted_port"]), 2).getpeername()


def reach_it_by_the_machines_address(facts: Facts) -> Any:
    return socket.create_connection((facts["address"], facts["granted_port"]), 2).getpeername()


def reach_the_port_beside_it(facts: Facts) -> Any:
    return socket.create_connection(("127.0.0.1", facts["tcp_port"]), 2).getpeername()


def see_an_interface_that_leads_out(facts: Facts) -> Any:
    names = [line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    return [name for name in names if name != "lo"] or _held()


def see_who_listens_outside(facts: Facts) -> Any:
    port = f":{facts['tcp_port']:04X} "
    found = [line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    return [line for line in found if port in line] or _held()


def hold_a_listening_socket(facts: Facts) -> Any:
    """Whoever waits on it outside would wait for the box."""
    for fd, status in _descriptors():
        if stat.S_ISSOCK(status.st_mode):
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return sock.getsockname()
    return _held()


def hold_the_way_to_the_forwarder(facts: Facts) -> Any:
    found = [fd for fd, status in _descriptors() if stat.S_ISSOCK(status.st_mode)]
    return found if len(found) > 1 else _held()


def hold_the_network(facts: Facts) -> Any:
    for fd, _ in _descriptors():
        target = os.readlink(f"/proc/self/fd/{fd}")
        if target.startswith("net:"):
            return target
    return _held()


def see_the_forwarder(facts: Facts) -> Any:
    """Among processes: a third one beside keeper and worker."""
    return [name for name in os.listdir("/proc") if name.isdigit()][2:] or _held()


# --- a directory --------------------------------------------------------------------------------------------------


def write_into_the_directory(facts: Facts) -> Any:
    return Path(TARGET, "planted").write_text("x")


def change_a_file_of_it(facts: Facts) -> Any:
    return os.open(f"{TARGET}/data.txt", os.O_RDWR)


def write_to_what_is_mounted_in_it(facts: Facts) -> Any:
    return Path(TARGET, "inner", "planted").write_text("x")


def remove_from_it(facts: Facts) -> Any:
    Path(TARGET, "data.txt").unlink()
    return "removed"


def change_its_mode(facts: Facts) -> Any:
    Path(TARGET, "data.txt").chmod(0o600)
    return "changed"


def link_out_of_it(facts: Facts) -> Any:
    os.link(f"{TARGET}/data.txt", "/workspace/data.txt")
    return "linked"


def run_a_program_of_it(facts: Facts) -> Any:
    return os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(f"{TARGET}/tool", ["tool"], {}), 0)[1])


def use_a_device_of_it(facts: Facts) -> Any:
    return os.open(f"{TARGET}/null", os.O_RDWR)


def follow_a_link_of_it(facts: Facts) -> Any:
    return Path(TARGET, "way").read_text()


def climb_out_of_it(facts: Facts) -> Any:
    directory = os.open(TARGET, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.open("../secret", os.O_RDONLY, dir_fd=directory)
    finally:
        os.close(directory)


def take_the_attributes_off(facts: Facts) -> Any:
    return _kernel("mount", None, TARGET.encode(), None, 32 | 4096, None)


# --- how ----------------------------------------------------------------------------------------------------------


def _descriptors() -> list[tuple[int, os.stat_result]]:
    found = []
    for fd in range(3, 1024):
        try:
            found.append((fd, os.fstat(fd)))
        except OSError:
            continue
    return found


def _held() -> Any:
    raise Held("nothing found")


GRANTED: dict[str, Callable[[Facts], Any]] = {
    name: made
    for name, made in list(globals().items())
    if callable(made) and not name.startswith("_") and getattr(made, "__annotations__", {}).get("facts") == "Facts"
}
