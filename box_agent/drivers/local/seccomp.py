"""The system call filters: classic BPF, assembled here, because what there is to say fits on one page.

A system call that is not forbidden is allowed: what a process may reach is held by namespaces, files and missing
capabilities. The filter takes away what has no business in a box and was the way out of many a sandbox. Calls that are
newer than this list do not exist for a box, until somebody has looked at them.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence
from typing import Final

from box_agent.drivers.local.libc import call

_NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {
        "ioctl": 16, "socket": 41, "clone": 56, "open": 2, "creat": 85, "chmod": 90, "fchmod": 91, "ptrace": 101,
        "syslog": 103, "mknod": 133, "uselib": 134, "personality": 135, "ustat": 136, "sysfs": 139, "vhangup": 153,
        "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163,
        "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
        "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175,
        "delete_module": 176, "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227,
        "mbind": 237, "set_mempolicy": 238, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
        "migrate_pages": 256, "openat": 257, "mknodat": 259, "fchmodat": 268, "unshare": 272, "move_pages": 279,
        "perf_event_open": 298, "fanotify_init": 300, "fanotify_mark": 301, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320, "bpf": 321,
        "userfaultfd": 323,
    },
    "aarch64": {
        "lookup_dcookie": 18, "ioctl": 29, "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41,
        "nfsservctl": 42, "chroot": 51, "fchmod": 52, "fchmodat": 53, "openat": 56, "vhangup": 58, "quotactl": 60,
        "acct": 89, "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
        "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142, "sethostname": 161,
        "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "socket": 198, "add_key": 217,
        "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225, "mbind": 235,
        "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
        "fanotify_init": 262, "fanotify_mark": 263, "name_to_handle_at": 264, "open_by_handle_at": 265,
        "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
    },
}  # fmt: skip
_SINCE_2019: Final = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447, "fchmodat2": 452,
    "statmount": 457, "listmount": 458,
}  # fmt: skip
"""The same on every architecture."""
_LAST_KNOWN: Final = 462
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000

LANDING: Final = ("unshare", "setns", "mount", "open_tree", "move_mount", "mount_setattr", "sethostname")
"""What a template needs to fork a box into a world of its own."""
FORBIDDEN: Final = (
    *LANDING, "umount2", "fsopen", "fsconfig", "fsmount", "fspick", "pivot_root", "chroot", "statmount", "listmount",
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "add_key",
    "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "fanotify_init", "fanotify_mark", "name_to_handle_at", "open_by_handle_at", "memfd_secret",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
    "acct", "quotactl", "quotactl_fd", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime",
    "setdomainname", "syslog", "vhangup", "lookup_dcookie", "nfsservctl", "uselib", "ustat", "sysfs", "_sysctl",
    "modify_ldt", "iopl", "ioperm", "mbind", "set_mempolicy", "migrate_pages", "move_pages",
)  # fmt: skip
_NOT_THERE: Final = ("clone3", "openat2")
"""Their arguments are behind a pointer, where no filter can look; every libc falls back to the older call."""
_FAMILIES: Final = (1, 2, 10)
"""Of sockets: unix, and IPv4 and IPv6 for the loopback device. No netlink, vsock, packet, alg."""
_NEW_NAMESPACE: Final = 0x7E020000
_SET_ID: Final = 0o6000
_MAKES_FILE: Final = 0o100 | 0o20000000
_DEVICE_KINDS: Final = (0o020000, 0o060000)
_KIND_MASK: Final = 0o170000
_TERMINAL_INPUT: Final = (0x5412, 0x541C)
"""``TIOCSTI`` and ``TIOCLINUX`` type into a terminal for whoever reads it."""
_PERSONALITIES: Final = (0, 8, 0xFFFFFFFF)

_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_ABOVE: Final = 0x25
_JUMP_FROM: Final = 0x35
_JUMP_BITS: Final = 0x45
_AND: Final = 0x54
_RETURN: Final = 0x06
_KILL: Final = 0x80000000
_ERROR: Final = 0x00050000
_ALLOW: Final = 0x7FFF0000
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_MODE: Final = ctypes.c_ulong(2)
_NONE: Final = ctypes.c_ulong(0)
_PR_SET_SECCOMP: Final = 22

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def supported() -> bool:
    """Whether the system calls of this machine's processor are listed here."""
    return platform.machine() in _NUMBERS


def program(allowed: Sequence[str] = (), machine: str = "", families: Sequence[int] | None = None) -> list[Instruction]:
    """The filter for a box; ``allowed`` of what is `FORBIDDEN` is not. ``families``: of sockets, and no others."""
    machine = machine or platform.machine()
    numbers = {**_NUMBERS[machine], **_SINCE_2019}
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_FROM, 0, 1, _X32),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
        (_JUMP_ABOVE, 0, 1, _LAST_KNOWN),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
    ]
    for name in FORBIDDEN:
        if name in numbers and name not in allowed:
            code += _when(numbers[name], [(_RETURN, 0, 0, _ERROR | errno.EPERM)])
    for name in _NOT_THERE:
        code += _when(numbers[name], [(_RETURN, 0, 0, _ERROR | errno.ENOSYS)])
    conditions = dict(_CONDITIONS)
    if families is not None:
        conditions["socket"] = _only(0, families, errno.EAFNOSUPPORT)
    for name, body in conditions.items():
        if name in numbers:
            code += _when(numbers[name], body)
    return [*code, (_RETURN, 0, 0, _ALLOW)]


class Filter:
    """A program ready to be installed, which every spawn does."""

    def __init__(self, code: Sequence[Instruction]) -> None:
        self._data = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in code))
        self._program = _Program(len(code), ctypes.cast(self._data, ctypes.c_void_p))
        self._reference = ctypes.byref(self._program)

    def install(self) -> None:
        """For this process and all it starts, for good. Needs no_new_privs or a capability."""
        call("prctl", _PR_SET_SECCOMP, _MODE, self._reference, _NONE, _NONE, about="seccomp")


def _when(number: int, body: list[Instruction]) -> list[Instruction]:
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _argument(index: int) -> Instruction:
    """The lower half of it."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _refuse_bits(index: int, bits: int) -> list[Instruction]:
    return [
        _argument(index),
        (_JUMP_BITS, 0, 1, bits),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refuse(index: int, values: Sequence[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    tests = [(_JUMP_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERROR | errno.EPERM)
    return [_argument(index), (_AND, 0, 0, mask), *tests, allow, refuse]


def _only(index: int, values: Sequence[int], error: int) -> list[Instruction]:
    tests = [(_JUMP_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    return [_argument(index), *tests, (_RETURN, 0, 0, _ERROR | error), (_RETURN, 0, 0, _ALLOW)]


def _no_set_id_file(flags: int, mode: int) -> list[Instruction]:
    return [
        _argument(flags),
        (_JUMP_BITS, 0, 3, _MAKES_FILE),
        _argument(mode),
        (_JUMP_BITS, 0, 1, _SET_ID),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


_CONDITIONS: Final[dict[str, list[Instruction]]] = {
    "clone": _refuse_bits(0, _NEW_NAMESPACE),
    "socket": _only(0, _FAMILIES, errno.EAFNOSUPPORT),
    "ioctl": _refuse(1, _TERMINAL_INPUT),
    "personality": _only(0, _PERSONALITIES, errno.EPERM),
    "chmod": _refuse_bits(1, _SET_ID),
    "fchmod": _refuse_bits(1, _SET_ID),
    "fchmodat": _refuse_bits(2, _SET_ID),
    "fchmodat2": _refuse_bits(2, _SET_ID),
    "creat": _refuse_bits(1, _SET_ID),
    "open": _no_set_id_file(1, 2),
    "openat": _no_set_id_file(2, 3),
    "mknod": _refuse(1, _DEVICE_KINDS, _KIND_MASK),
    "mknodat": _refuse(2, _DEVICE_KINDS, _KIND_MASK),
}
"""What of these calls is refused depends on their arguments."""
