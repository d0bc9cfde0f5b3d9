"""Where pip gets packages from, as the node was told, and as the box in which pip runs can see it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

VARIABLES: Final = ("PIP_*", "*_proxy", "*_PROXY")
"""There may be a credential in them, so no other box has them."""
_CONFIGURED: Final = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf")
_OWN_CONFIGURATION: Final = "/box/pip.conf"
_LINKS: Final = "/box/links"


def only_for_pip(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in VARIABLES)


def sources(variables: Mapping[str, str], *, moved: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Variables for pip, and path in its box → file or directory of this machine that they speak of, read-only there.

    ``moved``: those paths are the box's own; otherwise each is where it is. What the boxes' user may not read, pip does
    not read either. Blocking, a few system calls.
    """
    said = {name: value for name, value in variables.items() if only_for_pip(name)}
    shown = {path: path for path in _CONFIGURED if Path(path).is_file()}
    own = said.get("PIP_CONFIG_FILE", "")
    if own and own != os.devnull and Path(own).is_file():
        said["PIP_CONFIG_FILE"] = _OWN_CONFIGURATION if moved else own
        shown[said["PIP_CONFIG_FILE"]] = own
    links = said.get("PIP_FIND_LINKS", "").split()
    for number, link in enumerate(links):
        directory = Path(link.removeprefix("file://"))
        if directory.is_absolute() and directory.is_dir():
            links[number] = f"{_LINKS}/{number}" if moved else str(directory)
            shown[links[number]] = str(directory)
    if links:
        said["PIP_FIND_LINKS"] = " ".join(links)
    return said, shown
