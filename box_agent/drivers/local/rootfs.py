"""What of the machine's files a Box sees: an allow-list, all of it read-only. What is not named here is not there.

The system's programs and libraries, a few files of ``/etc``, the interpreter wherever it lives, and the importable
packages on its path. No home, no ``/root`` (but for an interpreter in it), no ``/var``, no ``/run``, no ``/sys``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from box_agent.drivers.local import mounts

WORKSPACE: Final = "/workspace"
HOME: Final = "/box/home"
ENVIRONMENT: Final = "/box/environment"
PACKAGES: Final = "/box/packages"
NOTHING: Final = "/box/nothing"
"""An empty directory, to cover others with."""
OWN: Final = "/box/own"
"""The box's private memory file system, and from there to where programs look for it."""
OWN_PLACES: Final = {"tmp": "/tmp", "home": HOME, "shm": "/dev/shm"}  # noqa: S108 - mounted for each box anew

LEFT_BYTES: Final = 256 * 1024 * 1024
"""What ``setup`` may leave behind in those, which every box begins with a copy of."""

SYSTEM: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC: Final = (
    "alternatives", "ca-certificates", "debian_version", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "locale.conf", "localtime", "lsb-release", "magic", "mime.types", "os-release", "pki/tls/certs",
    "protocols", "services", "ssl/certs", "ssl/openssl.cnf", "timezone",
)  # fmt: skip
ETC_NETWORK: Final = ("hosts", "nsswitch.conf", "resolv.conf")
OWN_ETC: Final = {
    "passwd": "root:x:0:0:root:/nonexistent:/bin/false\nbox:x:1000:1000:box:/box/home:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": "root:x:0:\nbox:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_LINKS: Final = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_SHARED: Final = mounts.READ_ONLY | mounts.NO_SETUID | mounts.NO_DEVICES
_GRANTED: Final = _SHARED | mounts.NO_PROGRAMS
"""Granted directories hold data: programs and packages come by steps of the Box, which its fingerprint covers."""


def readable() -> list[str]:
    """Paths outside the system's directories that a Python program of this interpreter needs, parents first."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    sources = Path(__file__).resolve().parents[3]
    wanted |= {sources / "box_agent", sources / "schemas"}
    entries = list(sys.path)
    if str(sources) in entries:
        entries.remove(str(sources))  # once it is there for us; when it is there again, others import from it too
    for entry in (Path(entry).absolute() for entry in entries):  # "" is the current directory
        if entry.is_dir() and not _below(entry, wanted):
            wanted.update(_importable(entry))
    return _outermost(path for path in wanted if not _below(path, (Path("/usr"),)))


def _importable(directory: Path) -> Iterable[Path]:
    """Packages and modules in a directory of sources, and nothing else of what lies around there."""
    for path in directory.iterdir():
        if path.suffix in (".py", ".so") or (path / "__init__.py").is_file():
            yield path


def _below(path: Path, parents: Iterable[Path]) -> bool:
    return any(path.is_relative_to(parent) for parent in parents)


def _outermost(paths: Iterable[Path]) -> list[str]:
    found: list[Path] = []
    for path in sorted(paths):
        if path.exists() and not _below(path, found):
            found.append(path)
    return [str(path) for path in found]


def build(root: str, binds: Mapping[str, str], granted: Mapping[str, str], network: bool) -> None:
    """Mount the Box's file system at ``root``. Path in the Box → path here are ``binds``, what its steps made, and
    ``granted``, directories of the machine, with all that is mounted in them.

    All of it is locked by the kernel once the template enters a user namespace of its own: its code, however hostile,
    cannot take an attribute away again. So granted directories are mounted here, not in each box.
    """
    mounts.mount_tmpfs(root, "mode=755,size=4m")
    mounts.bind("/usr", _directory(root, "/usr"), _SHARED)
    for name in SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            Path(root, name).symlink_to(path.readlink())
        elif path.is_dir():
            mounts.bind(str(path), _directory(root, str(path)), _SHARED)
    _etc(root, network)
    _dev(root)
    for needed in readable():
        _bind(needed, root, needed)
    for inside, source in binds.items():
        _bind(source, root, inside)
    for inside, source in granted.items():
        _grant(source, _directory(root, inside))
    for place in (WORKSPACE, ENVIRONMENT, PACKAGES, NOTHING, OWN, *OWN_PLACES.values()):
        _directory(root, place)
    mounts.bind("/proc", _directory(root, "/proc"))  # the kernel wants to see one, before it lets us mount our own


def show(directory: int, packages: Mapping[str, int]) -> None:
    """Detached mounts in place of the environment and of the packages, by name, that this process has seen so far."""
    mounts.attach(directory, ENVIRONMENT)
    if not packages:
        return
    mounts.mount_tmpfs(PACKAGES, "mode=755,size=1m")
    for name, fd in packages.items():
        mounts.attach(fd, _directory(PACKAGES, f"/{name}"))
    mounts.make_read_only(PACKAGES)


def _etc(root: str, network: bool) -> None:
    etc = Path(_directory(root, "/etc"))
    for name, text in OWN_ETC.items():
        if not (network and name in ETC_NETWORK):
            (etc / name).write_text(text)
    for name in (*ETC, *(ETC_NETWORK if network else ())):
        path = Path("/etc", name)
        if path.is_dir():
            _bind(str(path), root, f"/etc/{name}")
        elif path.is_file():  # a copy costs every box less than a mount
            _directory(root, f"/etc/{Path(name).parent}")
            shutil.copyfile(path, etc / name)


def _dev(root: str) -> None:
    dev = Path(_directory(root, "/dev"))
    for name in _DEVICES:
        (dev / name).touch()
        mounts.bind(f"/dev/{name}", str(dev / name), mounts.NO_SETUID | mounts.NO_PROGRAMS)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)


def _bind(source: str, root: str, inside: str) -> None:
    if Path(source).is_dir():
        target = _directory(root, inside)
    else:
        _directory(root, str(Path(inside).parent))
        target = root + inside
        Path(target).touch()
    mounts.bind(source, target, _SHARED)


def _grant(source: str, target: str) -> None:
    """Exactly the directory that was looked at: nobody may have put a link in its place since."""
    directory = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{directory}"
        if (found := str(Path(path).readlink())) != source:
            raise OSError(f"{source} leads to {found} by now")
        mounts.bind(path, target, _GRANTED)
    finally:
        os.close(directory)


def _directory(root: str, inside: str) -> str:
    target = root + inside
    os.makedirs(target, mode=0o755, exist_ok=True)  # noqa: PTH103 - names that may end in no more than text
    return target


def hidden(paths: Sequence[str]) -> list[str]:
    """Those that private directories would cover."""
    covering = [Path(path) for path in OWN_PLACES.values()]
    return [path for path in paths if _below(Path(path), covering)]


def mount_own(size_bytes: int, covered: Sequence[str], *, inherit: bool) -> None:
    """A fresh memory file system for the places that may be written, in the file system this process sees.

    What is in ``covered`` stays visible. ``inherit``: it begins with what the places hold now, as ``setup`` left it.
    """
    kept = [(path, mounts.take(path, 0)) for path in covered]
    former = [(name, place, _left(place, covered)) for name, place in OWN_PLACES.items() if inherit]
    left = [(name, os.open(place, os.O_PATH | os.O_CLOEXEC), names) for name, place, names in former if names]
    mounts.mount_tmpfs(OWN, f"mode=755,size={size_bytes},nr_inodes=65536")
    for name, place in OWN_PLACES.items():
        path = f"{OWN}/{name}"
        os.mkdir(path, 0o700)  # noqa: PTH102 - for every box
        mounts.bind(path, place)
    for name, fd, names in left:
        for entry in names:
            _copy(f"/proc/self/fd/{fd}/{entry}", f"{OWN}/{name}/{entry}")
        os.close(fd)
    for path, fd in kept:
        _uncover(path, fd)


def _left(place: str, covered: Sequence[str]) -> list[str]:
    names = os.listdir(place)  # noqa: PTH208 - for every box, and mostly there is nothing
    return [name for name in names if not any(Path(path).is_relative_to(f"{place}/{name}") for path in covered)]


def _copy(source: str, target: str) -> None:
    if Path(source).is_dir() and not Path(source).is_symlink():
        shutil.copytree(source, target, symlinks=True)
    elif Path(source).is_symlink() or Path(source).is_file():
        shutil.copy2(source, target, follow_symlinks=False)


def _uncover(path: str, fd: int) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112 - a link that the kernel follows
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mounts.attach(fd, path)
    os.close(fd)
