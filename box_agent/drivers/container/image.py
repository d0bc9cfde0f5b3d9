"""The image of all boxes here: directories, links, and the machine's allow-listed files of ``/etc``.

The bulk, ``/usr``, the interpreter and its packages, is mounted read-only from the machine when a container is made: no
registry is needed, nothing is copied, and what a Box's code was packed for is what it finds.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from box_agent.drivers.local import rootfs

LINK: Final = "/box/link"
"""Where the node listens, as a box sees it."""
_DIRECTORIES: Final = (
    "/usr", "/etc", "/dev", "/proc", "/sys", "/tmp", "/run",  # noqa: S108 - of the image
    "/box", LINK, rootfs.WORKSPACE, rootfs.HOME,
    rootfs.ENVIRONMENT, rootfs.PACKAGES,
)  # fmt: skip


def archive(user: int, along: Mapping[Path, str] = MappingProxyType({})) -> bytes:
    """A tar of the root directory, the same for the same machine; ``user`` is whom boxes run as.

    ``along``: further files and directories, and where they go.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in _DIRECTORIES:
            tar.addfile(_entry(path, tarfile.DIRTYPE, 0o755))
        for path, target in _links():
            link = _entry(path, tarfile.SYMTYPE, 0o777)
            link.linkname = target
            tar.addfile(link)
        for name in rootfs.ETC:
            if Path("/etc", name).exists():
                tar.add(f"/etc/{name}", f"etc/{name}", filter=_of_root)
        for source, target in along.items():
            tar.add(source, target.lstrip("/"), filter=_source)
        for name, text in rootfs.OWN_ETC.items():
            data = text.replace(":1000:", f":{user}:").encode()
            file = _entry(f"/etc/{name}", tarfile.REGTYPE, 0o644)
            file.size = len(data)
            tar.addfile(file, io.BytesIO(data))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def machine_files(*, network: bool) -> list[str]:
    """What a container sees of the machine's files, all of it read-only, at the same paths; each costs a mount."""
    names = ("/etc/nsswitch.conf",) if network else ()  # hosts and resolv.conf are the engine's
    etc = [name for name in names if Path(name).exists()]
    system = [f"/{name}" for name in rootfs.SYSTEM if Path("/", name).is_dir() and not Path("/", name).is_symlink()]
    return ["/usr", *system, *etc, *rootfs.readable()]


def _links() -> Iterator[tuple[str, str]]:
    for name in rootfs.SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            yield str(path), str(path.readlink())


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _source(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith("__pycache__") else _of_root(entry)


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.mode = kind, mode
    return entry
