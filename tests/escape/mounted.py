"""The granted directory with something mounted in it: ``python -m tests.escape.mounted HOLE`` prints what came of it.

A program of its own, because its mounts must not be the machine's.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from box_agent.drivers.local import mounts, namespaces
from tests.escape import conftest

CASE = "write_to_what_is_mounted_in_it"


def main(hole: str) -> None:
    own = os.geteuid(), os.getegid()
    namespaces.unshare(namespaces.MOUNT if own[0] == 0 else namespaces.MOUNT | namespaces.USER)
    if own[0] != 0:
        namespaces.map_identity(0, *own)
    mounts.make_private()
    plain = conftest._lent

    def lent(folder: Path) -> Path:
        plain(folder)
        mounts.mount_tmpfs(str(folder / "inner"), "mode=777")
        return folder

    conftest._lent = lent
    print(asyncio.run(conftest.outcomes(hole, [CASE], granted=True))[CASE])


if __name__ == "__main__":
    main(sys.argv[1])
