"""Merging trees, held against ``git merge-tree`` on generated histories."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_store.blobs.directory import DirectoryBlobs
from context_store.trees import Trees
from schemas.errors import InvalidInput, MergeConflict
from schemas.tree import EMPTY_TREE, TreeEntry

Files = dict[str, tuple[bytes, int]]

PATHS = st.sampled_from(["a", "b", "d", "d/x", "d/y", "d/e", "d/e/z", "long/way/down"])
LINES = st.sampled_from(
    [b"1\n2\n3\n4\n5\n", b"1!\n2\n3\n4\n5\n", b"1\n2\n3\n4\n5!\n", b"1\n2\n3?\n4\n5\n", b"", b"\0" * 9000]
)
VALUES = st.tuples(LINES, st.sampled_from([0o644, 0o644, 0o644, 0o755]))


def as_directory(files: Files) -> Files:
    """Without paths that would need a file to be a directory as well."""
    return {p: v for p, v in files.items() if not any(other.startswith(f"{p}/") for other in files)}


@st.composite
def histories(draw) -> tuple[Files, Files, Files]:
    def own(files: Files) -> Files:
        """Content of one path is unlike that of any other, so that git sees no renames: it guesses, we do not."""
        return {
            p: (b"".join(b"%s %d\n" % (p.encode(), n) for n in range(30)) + data, mode)
            for p, (data, mode) in files.items()
        }

    base = as_directory(draw(st.dictionaries(PATHS, VALUES, min_size=1, max_size=6)))

    def side() -> Files:
        changed: dict[str, tuple[bytes, int] | None] = draw(st.dictionaries(PATHS, st.none() | VALUES, max_size=4))
        files = {**base, **changed}
        return as_directory({p: v for p, v in files.items() if v is not None})

    return own(base), own(side()), own(side())


class Git:
    """A bare repository, to merge by git's own rules."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run("init", "-q", "--bare", ".")

    def run(self, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.directory), "LC_ALL": "C"}
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=self.directory, input=data, capture_output=True, env=environment, check=False
        )

    def commits(self, history: tuple[Files, Files, Files]) -> None:
        stream = b""
        for name, files in zip(("base", "ours", "theirs"), history, strict=True):
            stream += b"commit refs/heads/%s\ncommitter t <t@t> 1 +0000\ndata 0\n" % name.encode()
            stream += b"from refs/heads/base\ndeleteall\n" if name != "base" else b""
            for path, (data, mode) in files.items():
                stream += b"M 100%o inline %s\ndata %d\n%s\n" % (mode, path.encode(), len(data), data)
        done = self.run("fast-import", "--quiet", "--force", data=stream)
        assert done.returncode == 0, done.stderr

    def merge(self) -> Files | None:
        """The merged files; ``None`` on a conflict."""
        done = self.run("merge-tree", "--write-tree", "ours", "theirs")
        assert done.returncode in (0, 1), done.stderr
        if done.returncode:
            return None
        found: Files = {}
        for row in self.run("ls-tree", "-r", "-z", done.stdout.decode().strip()).stdout.split(b"\0")[:-1]:
            (mode, _, blob), path = row.split(b"\t")[0].split(), row.split(b"\t")[1]
            found[path.decode()] = (self.run("cat-file", "blob", blob.decode()).stdout, int(mode[-3:], 8))
        return found


async def flat(trees: Trees, tree: str) -> Files:
    return {path: (await trees.blobs.get(e.hash), e.mode) async for path, e in trees.walk(tree)}


@settings(max_examples=40)
@given(history=histories())
def test_as_git_does(history):
    async def check(directory: Path) -> None:
        async with DirectoryBlobs(directory / "blobs") as store:
            trees = Trees(store.tenant("default"))
            base, ours, theirs = [await trees.put_files(EMPTY_TREE, dict(side)) for side in history]
            try:
                merged = await flat(trees, await trees.merge(base, ours, theirs))
            except MergeConflict as conflict:
                merged = None
                settled = [
                    await flat(trees, await trees.merge(base, ours, theirs, on_conflict=side))
                    for side in ("ours", "theirs")
                ]
                for path in conflict.details["paths"]:
                    assert [s.get(path) for s in settled] == [history[1].get(path), history[2].get(path)]
            assert merged == expected
            # The sides are equal partners: what conflicts one way conflicts the other way, and so do the results.
            try:
                mirrored = await flat(trees, await trees.merge(base, theirs, ours))
            except MergeConflict:
                mirrored = None
            assert mirrored == merged

    with TemporaryDirectory() as name:
        git = Git(Path(name))
        git.commits(history)
        expected = git.merge()
        asyncio.run(check(Path(name)))


# --- one by one -----------------------------------------------------------------------------------------------------


async def merged(trees: Trees, base: Any, ours: Any, theirs: Any, **options) -> dict[str, bytes]:
    hashes = [await trees.put_files(EMPTY_TREE, side) for side in (base, ours, theirs)]
    tree = await trees.merge(*hashes, **options)
    return {path: data for path, (data, _) in (await flat(trees, tree)).items()}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "paths"),
    [
        ({"f": b"1"}, {"f": b"2"}, {"f": b"3"}, ["f"]),
        ({"f": b"1"}, {}, {"f": b"3"}, ["f"]),
        ({}, {"f": b"2"}, {"f": b"3"}, ["f"]),
        ({"d/x": b"1", "d/y": b"1"}, {}, {"d/x": b"2", "d/y": b"1"}, ["d/x"]),
        ({"d/x": b"1"}, {"d": b"now a file"}, {"d/x": b"2"}, ["d"]),
        ({"d": b"1"}, {"d/x": b"1"}, {"d": b"2"}, ["d"]),
        ({"f": b"\0"}, {"f": b"\0a"}, {"f": b"\0b"}, ["f"]),
        ({"a": b"1", "b/c": b"1"}, {"a": b"2", "b/c": b"2"}, {"a": b"3", "b/c": b"3"}, ["a", "b/c"]),
    ],
)
async def test_conflicts_name_every_path(trees, base, ours, theirs, paths):
    with pytest.raises(MergeConflict) as conflict:
        await merged(trees, base, ours, theirs)
    assert conflict.value.details["paths"] == paths
    assert conflict.value.details["total"] == len(paths)
    for side in conflict.value.details["conflicts"]:
        assert side["path"] in paths


async def test_a_thousand_conflicts_are_counted_and_a_hundred_shown(trees):
    sides = [{f"f{n:04}": b"%d" % side for n in range(1000)} for side in range(3)]
    with pytest.raises(MergeConflict) as conflict:
        await merged(trees, *sides)
    assert (conflict.value.details["total"], len(conflict.value.details["paths"])) == (1000, 100)
    assert len(str(conflict.value)) < 300


async def test_a_resolver_decides(trees):
    seen = []

    def resolve(conflict):
        seen.append((conflict.path, conflict.base.size, conflict.ours.size, conflict.theirs.size))
        return {"text": b"settled", "theirs": conflict.theirs, "gone": None}[conflict.path]

    sides = [dict.fromkeys(("text", "theirs", "gone"), b"x" * n) for n in (1, 2, 3)]
    assert await merged(trees, *sides, on_conflict=resolve) == {"text": b"settled", "theirs": b"xxx"}
    assert sorted(seen) == [(name, 1, 2, 3) for name in ("gone", "text", "theirs")]


async def test_another_kind_in_place_of_what_both_deleted(trees):
    for before, after in (("d", "d/x"), ("d/x", "d")):
        assert await merged(trees, {before: b"1", "e": b""}, {"e": b""}, {after: b"2", "e": b""}) == {
            after: b"2",
            "e": b"",
        }
        assert await merged(trees, {before: b"1", "e": b""}, {after: b"2", "e": b""}, {"e": b""}) == {
            after: b"2",
            "e": b"",
        }


async def test_modes_merge_apart_from_content(trees):
    base, ours, theirs = {"f": (b"1\n2\n", 0o644)}, {"f": (b"1\n2\n", 0o755)}, {"f": (b"1\n2\n3\n", 0o644)}
    hashes = [await trees.put_files(EMPTY_TREE, side) for side in (base, ours, theirs)]
    assert await flat(trees, await trees.merge(*hashes)) == {"f": (b"1\n2\n3\n", 0o755)}


async def test_symlinks_conflict_when_both_moved(trees, blobs):
    sides = []
    for target in (b"a", b"b", b"c"):
        entry = TreeEntry(kind="symlink", hash=await blobs.put(target), size=1)
        sides.append({"l": entry})
    with pytest.raises(MergeConflict):
        await merged(trees, *sides)
    assert await merged(trees, sides[0], sides[0], sides[2]) == {"l": b"c"}


async def test_a_merge_reads_only_what_both_changed(trees, blobs):
    base = await trees.put_files(EMPTY_TREE, {f"d{n}/f": b"%d" % n for n in range(10)})
    ours, theirs = await trees.put_files(base, {"d1/f": b"x"}), await trees.put_files(base, {"d2/f": b"y"})
    for n in (3, 4, 5):
        await blobs.delete((await trees.entry(base, f"d{n}")).hash)
    fresh = Trees(blobs)
    assert await fresh.read_file(await fresh.merge(base, ours, theirs), "d2/f") == b"y"


async def test_what_on_conflict_cannot_be(trees):
    with pytest.raises(InvalidInput):
        await trees.merge(EMPTY_TREE, EMPTY_TREE, EMPTY_TREE, on_conflict="both")
