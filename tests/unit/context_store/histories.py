"""Small random histories: a tree and two edited copies. Seeded, so that a failure can be run again."""

from __future__ import annotations

import random

from tests.unit.context_store.git_oracle import LINK, Files, History

PLACES = [
    b"a",
    b"b.txt",
    b"c",
    b"d/x",
    b"d/y",
    b"d/e/z",
    b"src/mod.py",
    b"src/lib.py",
    b"\xff\xfe name",
    b"long/way/down",
]
TARGETS = [b"n1", b"n2", b"new/p", b"new/q", b"d/moved", b"src", b"a/inner", b"c/inner", b"\xe9t\xe9"]


class Histories:
    """``kinds``: the edits that occur, each as often as it is named."""

    def __init__(self, seed: int, kinds: list[str]) -> None:
        self._random = random.Random(seed)
        self._kinds = kinds
        self._serial = 0

    def one(self) -> History:
        base: Files = {}
        for path in self._random.sample(PLACES, self._random.randint(2, 6)):
            base[path] = self._file(path)
        return base, self._side(base), self._side(base)

    def _file(self, path: bytes) -> tuple[bytes, int]:
        """Unlike that of any other path, so that what was renamed is beyond doubt; sometimes binary or a link."""
        kind = self._random.random()
        if kind < 0.08:
            return b"to/" + path, LINK
        self._serial += 1
        end = b"\r\n" if kind < 0.2 else b"\n"
        lines = [b"%s %d line %d" % (path, self._serial, n) for n in range(12)]
        if kind > 0.92:
            lines[0] += b"\0"
        data = end.join(lines) + (b"" if kind > 0.85 else end)
        return data, 0o755 if self._random.random() < 0.15 else 0o644

    def _side(self, base: Files) -> Files:
        files = dict(base)
        for _ in range(self._random.randint(1, 3)):
            getattr(self, f"_{self._random.choice(self._kinds)}")(files)
        return files

    def _any(self, files: Files) -> bytes | None:
        return self._random.choice(sorted(files)) if files else None

    def _edit(self, files: Files) -> None:
        if (path := self._any(files)) is None:
            return
        data, mode = files[path]
        if mode == LINK:
            files[path] = (data + self._random.choice([b"1", b"2"]), LINK)
            return
        lines = data.split(b"\n")
        at = self._random.choice([0, len(lines) // 2, len(lines) - 2])
        new = self._random.choice([[b"one"], [b"two"], [b"one", b"more"], []])
        lines[at : at + self._random.randint(0, 1)] = new
        files[path] = (b"\n".join(lines), mode)

    def _delete(self, files: Files) -> None:
        if (path := self._any(files)) is not None:
            del files[path]

    def _mode(self, files: Files) -> None:
        if (path := self._any(files)) is not None and files[path][1] != LINK:
            files[path] = (files[path][0], files[path][1] ^ 0o111)

    def _add(self, files: Files) -> None:
        path = self._random.choice(TARGETS)
        _put(files, path, (self._random.choice([b"same\n", b"%d\n" % self._random.randrange(99)]), 0o644))

    def _touch(self, files: Files) -> None:
        _put(files, self._random.choice(TARGETS), (b"", 0o644))

    def _link(self, files: Files) -> None:
        path = self._random.choice([self._random.choice(TARGETS), self._any(files) or b"n1"])
        _put(files, path, (self._random.choice([b"x", b"y"]), LINK))

    def _rename(self, files: Files) -> None:
        if (path := self._any(files)) is not None:
            _put(files, self._random.choice(TARGETS), files.pop(path))

    def _rename_edit(self, files: Files) -> None:
        if (path := self._any(files)) is not None and files[path][1] != LINK:
            data, mode = files.pop(path)
            only = {path: (data, mode)}
            self._edit(only)
            _put(files, self._random.choice(TARGETS), only[path])


def _put(files: Files, path: bytes, what: tuple[bytes, int]) -> None:
    """A file takes the place of a directory, and the other way round."""
    for other in list(files):
        if other.startswith(path + b"/") or path.startswith(other + b"/"):
            del files[other]
    files[path] = what
