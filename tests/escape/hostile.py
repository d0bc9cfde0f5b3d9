"""A Box that tries to get out. Every case returns what it got hold of, or raises; whatever it returns is an escape."""

# ruff: noqa: PTH115, PTH116, PTH208 - an attacker speaks to the kernel as directly as can be

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from box_agent import Box, Context, skill

Facts = dict[str, Any]
"""What the attacker would like to know and is told: paths, ports, pids and names outside."""
Case = Callable[[Facts], Any]


class Held(Exception):
    """The attack came to nothing, without an error of its own."""


class Hostile(Box):
    @skill
    def attempt(self, case: str, facts: Facts) -> str:
        """What the attack gave, or ``held: …``."""
        try:
            return f"ESCAPED: {CASES[case](facts)!r}"
        except (OSError, Held) as error:
            return f"held: {error}"

    @skill
    def forge(self, frame: bytes | str) -> None:
        """Write to the box's own bus socket what its port would never write."""
        data = frame.encode() if isinstance(frame, str) else frame
        for fd in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    os.write(fd, len(data).to_bytes(4, "big") + data)
            except OSError:
                continue

    @skill
    def say(self, context: Context, to: str) -> str:
        return context.bus.send_message(to, "honest")

    @skill
    def alive(self) -> bool:
        return True


# --- files --------------------------------------------------------------------------------------------------------


def read_shadow(facts: Facts) -> Any:
    return Path("/etc/shadow").read_bytes()[:20]


def read_a_file_of_the_node(facts: Facts) -> Any:
    return Path(facts["secret"]).read_text()


def read_it_through_a_link(facts: Facts) -> Any:
    link = Path("/workspace/link")
    link.symlink_to(facts["secret"])
    return link.read_text()


def read_it_through_dots(facts: Facts) -> Any:
    return Path("/workspace" + "/.." * 20 + facts["secret"]).read_text()


def read_it_through_the_init(facts: Facts) -> Any:
    return Path("/proc/1/root" + facts["secret"]).read_text()


def see_the_homes_of_others(facts: Facts) -> Any:
    found = [str(path) for path in map(Path, facts["homes"]) if path.exists()]
    return found or _held()


def see_the_rest_of_the_system(facts: Facts) -> Any:
    places = ("/var", "/run", "/sys", "/boot", "/srv", "/mnt", "/media", "/home", "/etc/ssh", "/etc/ssl/private")
    found = [p for p in places if Path(p).exists() and not str(facts["prefix"]).startswith(p)]
    return found or _held()


def see_another_box(facts: Facts) -> Any:
    return os.listdir(facts["other_directory"])


def list_other_boxes(facts: Facts) -> Any:
    return os.listdir(Path(facts["other_directory"]).parent)


def walk_out_by_a_descriptor(facts: Facts) -> Any:
    for fd in range(256):
        for up in ("..", "../..", "../../../.."):
            try:
                found = os.open(f"{up}/etc/shadow", os.O_RDONLY, dir_fd=fd)
            except OSError:
                continue
            return found
    return _held()


def inherit_a_file(facts: Facts) -> Any:
    for fd in range(3, 1024):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            return fd, os.readlink(f"/proc/self/fd/{fd}")
    return _held()


def write_outside(facts: Facts) -> Any:
    places = ("/", "/usr", "/usr/bin", "/etc", "/box", "/dev", "/proc", "/box/packages", facts["prefix"])
    for place in places:
        try:
            Path(place, "planted").write_text("x")
        except OSError:
            continue
        return place
    return _held()


def write_to_the_environment(facts: Facts) -> Any:
    return Path("/box/environment/planted").write_text("x")


def change_a_program(facts: Facts) -> Any:
    return os.open("/usr/bin/env", os.O_RDWR)


def make_it_writable(facts: Facts) -> Any:
    return _kernel("mount", None, b"/usr", None, 32 | 4096, None)


def link_hard(facts: Facts) -> Any:
    os.link("/usr/bin/env", "/workspace/env")
    return "linked"


def write_kernel_settings(facts: Facts) -> Any:
    for name in ("kernel/core_pattern", "kernel/hostname", "vm/overcommit_memory", "net/ipv4/ip_forward"):
        try:
            path = Path("/proc/sys", name)
            path.write_text(path.read_text())
        except OSError:
            continue
        return name
    return _held()


def press_sysrq(facts: Facts) -> Any:
    fd = os.open("/proc/sysrq-trigger", os.O_WRONLY)
    if os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev:
        return _held()
    return fd


def read_kernel_symbols(facts: Facts) -> Any:
    return Path("/proc/kallsyms").read_bytes()[:40] or _held()


def make_a_device(facts: Facts) -> Any:
    os.mknod("/workspace/disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
    return "made"


def make_a_null_device(facts: Facts) -> Any:
    os.mknod("/workspace/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    return "made"


def make_a_setuid_file(facts: Facts) -> Any:
    path = Path("/workspace/su")
    path.write_bytes(b"#!/bin/sh\n")
    path.chmod(0o4755)
    return "made"


def make_it_by_opening(facts: Facts) -> Any:
    os.open("/workspace/su2", os.O_CREAT | os.O_WRONLY, 0o4755)
    return "made"


def open_by_handle(facts: Facts) -> Any:
    return _kernel("open_by_handle_at", 3, None, 0)


# --- network ------------------------------------------------------------------------------------------------------


def reach_a_port(facts: Facts) -> Any:
    return socket.create_connection(("127.0.0.1", facts["tcp_port"]), 2).getpeername()


def reach_the_machine(facts: Facts) -> Any:
    return socket.create_connection((facts["address"], facts["tcp_port"]), 2).getpeername()


def reach_it_over_six(facts: Facts) -> Any:
    return socket.create_connection(("::1", facts["tcp_port"]), 2).getpeername()


def send_a_datagram(facts: Facts) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"out", ("192.0.2.1", 53))


def reach_an_abstract_socket(facts: Facts) -> Any:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + facts["abstract"])
        return "connected"


def reach_a_socket_file(facts: Facts) -> Any:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(facts["socket"])
        return "connected"


def _open_family(family: int, kind: int, protocol: int = 0) -> Any:
    with socket.socket(family, kind, protocol) as sock:
        return repr(sock)


def talk_to_the_kernel(facts: Facts) -> Any:
    return _open_family(16, socket.SOCK_RAW)


def talk_to_the_hypervisor(facts: Facts) -> Any:
    return _open_family(40, socket.SOCK_STREAM)


def listen_on_the_wire(facts: Facts) -> Any:
    return _open_family(17, socket.SOCK_RAW)


def send_raw(facts: Facts) -> Any:
    return _open_family(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def use_kernel_crypto(facts: Facts) -> Any:
    return _open_family(38, socket.SOCK_SEQPACKET)


# --- processes ----------------------------------------------------------------------------------------------------


def see_the_nodes_processes(facts: Facts) -> Any:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                arguments = Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue
            if facts["argument"].encode() in arguments:
                return name
    return _held()


def read_an_environment(facts: Facts) -> Any:
    """The node's, with its secrets, or another box's."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environment = Path("/proc", name, "environ").read_bytes()
            except OSError:
                continue
            if facts["node_secret"].encode() in environment or facts["other_secret"].encode() in environment:
                return name
    return _held()


def signal_outward(facts: Facts) -> Any:
    os.kill(facts["victim"], signal.SIGKILL)
    return "sent"


def look_into_the_keeper(facts: Facts) -> Any:
    return Path("/proc/1/environ").read_bytes()


def find_the_keeper_in_power(facts: Facts) -> Any:
    """What it may do, whoever gets it to."""
    lines = dict(line.split(":\t") for line in Path("/proc/1/status").read_text().splitlines() if ":\t" in line)
    return _held() if int(lines["CapEff"], 16) == 0 and lines["Seccomp"] == "2" else lines["CapEff"]


def write_into_the_keeper(facts: Facts) -> Any:
    return os.open("/proc/1/mem", os.O_RDWR)


def take_the_keepers_sockets(facts: Facts) -> Any:
    pidfd = os.pidfd_open(1)
    return [_kernel("pidfd_getfd", pidfd, fd, 0) for fd in range(3, 20)]


def trace_the_keeper(facts: Facts) -> Any:
    return _kernel("ptrace", 16, 1, None, None)


def let_oneself_be_traced(facts: Facts) -> Any:
    return _kernel("ptrace", 0, 0, None, None)


def read_memory_of_another(facts: Facts) -> Any:
    return _kernel("process_vm_readv", 1, None, 0, None, 0, 0)


def share_memory_with_the_node(facts: Facts) -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    return _checked(libc.shmget(facts["shm_key"], 0, 0))


# --- the kernel ---------------------------------------------------------------------------------------------------


def mount_something(facts: Facts) -> Any:
    return _kernel("mount", b"t", b"/tmp", b"tmpfs", 0, None)


def mount_the_new_way(facts: Facts) -> Any:
    return _kernel("fsopen", b"tmpfs", 0)


def copy_a_mount(facts: Facts) -> Any:
    return _kernel("open_tree", -100, b"/proc", 1)


def unmount(facts: Facts) -> Any:
    return _kernel("umount2", b"/proc", 2)


def be_root_in_a_new_world(facts: Facts) -> Any:
    return _kernel("unshare", 0x10000000)


def clone_into_a_new_world(facts: Facts) -> Any:
    pid = _kernel("clone", 0x10000000 | signal.SIGCHLD, None, None, None, None)
    if pid == 0:
        os._exit(0)
    return pid


def clone_the_newest_way(facts: Facts) -> Any:
    return _kernel("clone3", None, 0)


def go_where_the_keeper_was(facts: Facts) -> Any:
    return _kernel("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0)


def change_the_root(facts: Facts) -> Any:
    return _kernel("chroot", b"/tmp")


def pivot(facts: Facts) -> Any:
    return _kernel("pivot_root", b"/tmp", b"/tmp")


def use_keyrings(facts: Facts) -> Any:
    return _kernel("keyctl", 0, -4, 0)


def add_a_key(facts: Facts) -> Any:
    return _kernel("add_key", b"user", b"k", b"v", 1, -4)


def load_a_program_into_the_kernel(facts: Facts) -> Any:
    return _kernel("bpf", 0, None, 0)


def use_rings(facts: Facts) -> Any:
    return _kernel("io_uring_setup", 1, None)


def handle_faults(facts: Facts) -> Any:
    return _kernel("userfaultfd", 1)


def measure_the_kernel(facts: Facts) -> Any:
    return _kernel("perf_event_open", None, 0, -1, -1, 0)


def set_the_clock(facts: Facts) -> Any:
    return _kernel("clock_settime", 0, None)


def name_the_machine(facts: Facts) -> Any:
    return _kernel("sethostname", b"mine", 4)


def load_a_module(facts: Facts) -> Any:
    return _kernel("init_module", None, 0, b"")


def restart_the_machine(facts: Facts) -> Any:
    return _kernel("reboot", 0xFEE1DEAD, 672274793, 0, None)


def make_the_layout_predictable(facts: Facts) -> Any:
    return _kernel("personality", 0x0040000)


def type_into_a_terminal(facts: Facts) -> Any:
    import fcntl

    try:
        fcntl.ioctl(0, 0x5412, b"x")
    except OSError as error:
        if error.errno != errno.EPERM:
            return f"the kernel looked at it: {error}"
        raise
    return "typed"


def call_what_is_not_known_yet(facts: Facts) -> Any:
    return _checked(ctypes.CDLL(None, use_errno=True).syscall(600, 0))


def have_capabilities(facts: Facts) -> Any:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = [line for line in lines if line.startswith("Cap") and int(line.split()[1], 16)]
    return found or _held()


def gain_by_exec(facts: Facts) -> Any:
    lines = Path("/proc/self/status").read_text().splitlines()
    return _held() if "NoNewPrivs:\t1" in lines else "it could"


def become_root(facts: Facts) -> Any:
    os.setuid(0)
    return os.getuid()


def raise_a_limit(facts: Facts) -> Any:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (hard + 1, hard + 1))
    except ValueError as error:  # how Python says EPERM here
        raise Held(str(error)) from error
    return hard + 1


# --- how ----------------------------------------------------------------------------------------------------------


def _held() -> Any:
    raise Held("nothing found")


def _kernel(name: str, *arguments: Any) -> int:
    """A system call by name; what the kernel itself found wrong with it is an escape: it was let through."""
    from box_agent.drivers.local import seccomp

    numbers = {**seccomp._NUMBERS[platform.machine()], **seccomp._SINCE_2019}
    call = ctypes.CDLL(None, use_errno=True).syscall
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    try:
        return _checked(call(ctypes.c_long(numbers[name]), *given))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            raise
        return -(error.errno or 0)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


CASES: dict[str, Case] = {
    name: made
    for name, made in list(globals().items())
    if callable(made) and not name.startswith("_") and getattr(made, "__annotations__", {}).get("facts") == "Facts"
}
