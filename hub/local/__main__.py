"""``python -m hub.local [--home DIR] [--port N] [--nats URL] [--quiet] | --embedded``"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from hub.local.embedded import run_embedded
from hub.local.foreground import run_up
from schemas.errors import BoxhubError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hub.local")
    parser.add_argument("--embedded", action="store_true", help="private system; ends when standard input closes")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--nats", default="", metavar="URL", help="use this server instead of a private one")
    parser.add_argument("--quiet", action="store_true", help="print only the URL")
    options = parser.parse_args()
    try:
        if options.embedded:
            return asyncio.run(run_embedded())
        return asyncio.run(run_up(options.home, options.port, options.quiet, options.nats))
    except BoxhubError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
