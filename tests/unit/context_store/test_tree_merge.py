"""Merging trees, case by case; `test_merge_oracle` holds it against git."""

from __future__ import annotations

from typing import Any

import pytest

from context_store.trees import Trees
from schemas.errors import InvalidInput, MergeConflict
from schemas.tree import EMPTY_TREE, TreeEntry

Files = dict[str, tuple[bytes, int]]


async def flat(trees: Trees, tree: str) -> Files:
    return {path: (await trees.blobs.get(e.hash), e.mode) async for path, e in trees.walk(tree)}


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
        ({"d": b"1"}, {"d/x": b"other"}, {"d": b"2"}, ["d"]),
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
