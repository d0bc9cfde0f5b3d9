"""git as the judge of merges: one repository, many histories, three processes for all of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LINK = 0o120000

Files = dict[bytes, tuple[bytes, int]]
"""Path → content and mode: 0o644, 0o755, or `LINK` with the target as content."""

History = tuple[Files, Files, Files]
"""Base, ours, theirs."""


@dataclass(frozen=True)
class Verdict:
    """What git made of one history: the files, or ``None`` and the paths that conflict."""

    files: Files | None
    conflicts: frozenset[bytes]


class Git:
    """A bare repository. Renames are followed as by default, renamed directories are not."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C"}
        self._run("init", "-q", "--bare", ".")
        self._run("config", "merge.directoryRenames", "false")

    def merge_all(self, histories: list[History]) -> list[Verdict]:
        """One `Verdict` per history."""
        self._run("fast-import", "--quiet", "--force", data=b"".join(_imported(histories)))
        pairs = b"".join(b"o%d t%d\n" % (n, n) for n in range(len(histories)))
        told = self._run("merge-tree", "--write-tree", "--name-only", "--no-messages", "--stdin", data=pairs)
        outcomes = list(_outcomes(told.split(b"\0")))
        assert len(outcomes) == len(histories)
        trees = [tree for tree, conflicts in outcomes if not conflicts]
        files = dict(zip(trees, self._files(trees), strict=True))
        return [
            Verdict(None if conflicts else files[tree], frozenset(path.split(b"~")[0] for path in conflicts))
            for tree, conflicts in outcomes
        ]

    def _files(self, trees: list[bytes]) -> Iterator[Files]:
        command = ["git", "cat-file", "--batch"]
        with subprocess.Popen(
            command, cwd=self._directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def read(name: bytes) -> bytes:
                process.stdin.write(name + b"\n")
                process.stdin.flush()
                size = int(process.stdout.readline().split()[2])
                return process.stdout.read(size + 1)[:-1]

            def walk(tree: bytes, prefix: bytes) -> Iterator[tuple[bytes, tuple[bytes, int]]]:
                rest = read(tree)
                while rest:
                    head, rest = rest.split(b"\0", 1)
                    mode, name = head.split(b" ", 1)
                    digest, rest = rest[:20].hex().encode(), rest[20:]
                    if mode == b"40000":
                        yield from walk(digest, prefix + name + b"/")
                    else:
                        bits = int(mode, 8)
                        yield prefix + name, (read(digest), LINK if bits == LINK else bits & 0o777)

            for tree in trees:
                yield dict(walk(tree, b""))
            process.stdin.close()

    def _run(self, *arguments: str, data: bytes | None = None) -> bytes:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self._directory,
            input=data,
            capture_output=True,
            env=self._environment,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout


def _imported(histories: list[History]) -> Iterator[bytes]:
    for number, history in enumerate(histories):
        for name, files in zip((b"b", b"o", b"t"), history, strict=True):
            yield b"commit refs/heads/%s%d\ncommitter t <t@t> 1 +0000\ndata 0\n" % (name, number)
            yield b"from refs/heads/b%d\ndeleteall\n" % number if name != b"b" else b""
            for path, (data, mode) in files.items():
                kind = mode if mode == LINK else 0o100000 | mode
                quoted = b'"%s"' % b"".join(b"\\%03o" % byte for byte in path)
                yield b"M %o inline %s\ndata %d\n%s\n" % (kind, quoted, len(data), data)


def _outcomes(told: list[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """``status, tree, path..., ''`` for each merge; a clean one has no paths."""
    at = 0
    while at + 1 < len(told):
        status, tree = told[at : at + 2]
        end = told.index(b"", at + 2)
        paths = told[at + 2 : end]
        assert (status == b"1") == (not paths), told[at : end + 1]
        yield tree, paths
        at = end + 1
