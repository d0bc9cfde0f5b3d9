"""The filters, run by an interpreter of classic BPF: also for the processor that these tests do not run on."""

from __future__ import annotations

import errno

import pytest

from box_agent.drivers.local import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000


def refused(error: int) -> int:
    return 0x00050000 | error


def run(code: list[seccomp.Instruction], architecture: int, number: int, *arguments: int) -> int:
    """What the kernel is told to do with a system call."""
    words = {0: number & 0xFFFFFFFF, 4: architecture}
    for index, value in enumerate(arguments):
        words[16 + 8 * index] = value & 0xFFFFFFFF
    at = accumulator = 0
    while True:
        operation, when_true, when_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = words.get(operand, 0)
            case 0x54:
                accumulator &= operand
            case 0x06:
                return operand
            case 0x15:
                at += when_true if accumulator == operand else when_false
            case 0x25:
                at += when_true if accumulator > operand else when_false
            case 0x35:
                at += when_true if accumulator >= operand else when_false
            case 0x45:
                at += when_true if accumulator & operand else when_false
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


class Machine:
    def __init__(self, name: str, allowed: tuple[str, ...] = ()) -> None:
        self.numbers = {**seccomp._NUMBERS[name], **seccomp._SINCE_2019}
        self.architecture = seccomp._ARCHITECTURES[name]
        self.code = seccomp.program(allowed, name)

    def __call__(self, name: str, *arguments: int) -> int:
        return run(self.code, self.architecture, self.numbers[name], *arguments)


@pytest.fixture(params=sorted(seccomp._NUMBERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_forbidden_is_refused_and_a_template_may_land(name: str) -> None:
    box, template = Machine(name), Machine(name, seccomp.LANDING)
    for call in set(seccomp.FORBIDDEN) & set(box.numbers):
        assert box(call) == refused(errno.EPERM), call
        assert template(call) == (ALLOW if call in seccomp.LANDING else refused(errno.EPERM)), call


def test_every_name_is_known_somewhere() -> None:
    known = {*seccomp._SINCE_2019, *(call for numbers in seccomp._NUMBERS.values() for call in numbers)}
    assert {*seccomp.FORBIDDEN, *seccomp.LANDING, *seccomp._NOT_THERE, *seccomp._CONDITIONS} <= known


@pytest.mark.parametrize(
    ("call", "arguments", "verdict"),
    [
        ("clone", (0x01200011,), ALLOW),
        ("clone", (0x10000011,), refused(errno.EPERM)),
        ("clone3", (), refused(errno.ENOSYS)),
        ("openat2", (), refused(errno.ENOSYS)),
        ("socket", (1, 1), ALLOW),
        ("socket", (2, 1), ALLOW),
        ("socket", (10, 2), ALLOW),
        ("socket", (16, 3), refused(errno.EAFNOSUPPORT)),
        ("socket", (40, 1), refused(errno.EAFNOSUPPORT)),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), refused(errno.EPERM)),
        ("ioctl", (0, (1 << 32) | 0x5412), refused(errno.EPERM)),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x40000,), refused(errno.EPERM)),
        ("fchmod", (3, 0o755), ALLOW),
        ("fchmod", (3, 0o4755), refused(errno.EPERM)),
        ("fchmodat", (3, 0, 0o2755), refused(errno.EPERM)),
        ("openat", (-100, 0, 0, 0o4755), ALLOW),
        ("openat", (-100, 0, 0o101, 0o644), ALLOW),
        ("openat", (-100, 0, 0o101, 0o4755), refused(errno.EPERM)),
        ("openat", (-100, 0, 0o20200002, 0o4755), refused(errno.EPERM)),
        ("mknodat", (-100, 0, 0o010644), ALLOW),
        ("mknodat", (-100, 0, 0o060644), refused(errno.EPERM)),
        ("mknodat", (-100, 0, 0o020644), refused(errno.EPERM)),
    ],
)
def test_arguments_decide(name: str, call: str, arguments: tuple[int, ...], verdict: int) -> None:
    assert Machine(name)(call, *arguments) == verdict


def test_ordinary_calls_pass_and_unknown_ones_do_not_exist(name: str) -> None:
    box = Machine(name)
    mentioned = set(box.numbers.values())
    for number in range(seccomp._LAST_KNOWN + 1):
        if number not in mentioned:
            assert run(box.code, box.architecture, number) == ALLOW
    for number in (seccomp._LAST_KNOWN + 1, 600, 0x40000000 | 41, 0xFFFFFFFF):
        assert run(box.code, box.architecture, number) == refused(errno.ENOSYS)


def test_another_architecture_is_killed(name: str) -> None:
    assert run(Machine(name).code, 0x40000003, 1) == KILL


def test_it_fits_the_kernels_limit(name: str) -> None:
    assert len(seccomp.program(machine=name)) < 4096
