"""The process that gives one box single ports of the machine's loopback. A fork of the ground: no code but ours.

The box's own world has a network without a way out. Once that stands, the box lends it to its forwarder, by descriptor.
A child of the forwarder enters it, makes the listening sockets there, and ends. So a box never holds a socket that
anybody outside waits on, and the forwarder itself acts outside only.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Final, NoReturn

from box_agent.drivers.local import landing, namespaces, privileges, relay

HOME: Final = relay.LOOPBACK
"""Where a granted port is, in the box: at this address and no other."""
_LANDED_S: Final = 30.0
_SAID_BYTES: Final = 1000


def serve(
    ports: Sequence[int], lifeline: int, meeting: socket.socket, groups: Sequence[int], identity: int
) -> NoReturn:
    """Wait for the box at ``meeting``, then carry its connections until ``lifeline`` ends. ``groups``: the box's."""
    try:
        meeting.settimeout(_LANDED_S)  # it is there within milliseconds, or never
        _, lent, _, _ = socket.recv_fds(meeting, 1, 1)
        if not lent:
            os._exit(0)  # it came to nothing
        for fd in groups:
            os.write(fd, b"0")  # what is done here is done for the box
        carried = dict(zip(ports, _made_inside(lent[0], ports), strict=True))
        for fd in (*lent, *groups):
            os.close(fd)
        _give_up(identity)
    except Exception as error:  # noqa: BLE001 - whoever waits must hear it
        meeting.send(f"{type(error).__name__}: {error}".encode()[:_SAID_BYTES])
        os._exit(1)
    meeting.send(landing.GRANTED)
    meeting.close()
    asyncio.run(relay.Relay(carried).run(lifeline))
    os._exit(0)


def _made_inside(network: int, ports: Sequence[int]) -> list[socket.socket]:
    """`listening` in another network namespace: there is no way back from one, for who is not root here."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.join(network, namespaces.NETWORK)
            made = listening(ports)
            socket.send_fds(theirs, [b"."], [sock.fileno() for sock in made])
        except Exception as error:  # noqa: BLE001 - see above
            theirs.send(f"{type(error).__name__}: {error}".encode()[:_SAID_BYTES])
        finally:
            os._exit(0)
    with ours:
        theirs.close()
        said, fds, _, _ = socket.recv_fds(ours, _SAID_BYTES, len(ports))
    os.waitpid(pid, 0)
    if len(fds) != len(ports):
        raise OSError(f"no listening sockets: {said.decode(errors='replace')}")
    return [socket.socket(fileno=fd) for fd in fds]


def listening(ports: Sequence[int]) -> list[socket.socket]:
    """One socket for each port, on the loopback address of the network namespace this process is in."""
    made = []
    for port in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.bind((HOME, port))
        sock.listen(relay.BACKLOG)
        made.append(sock)
    return made


def _give_up(identity: int) -> None:
    """All that carrying bytes does not need."""
    if identity:
        privileges.become(identity)
    else:
        privileges.drop_capabilities()
    landing.limit({"RLIMIT_CORE": 0, "RLIMIT_NOFILE": relay.OPEN_FILES})
    landing.close_the_door()
