"""Merging trees, case by case; `test_merge_oracle` holds it against git."""

from __future__ import annotations

from typing import Any

import pytest

from context_store.trees import Trees
from schemas.errors import InvalidInput, MergeConflict
from schemas.tree import EMPTY_TREE, Conflict, TreeEntry, blob_hash

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


# --- conflicts, and what they say ---------------------------------------------------------------------------------

TEXT = b"".join(b"line %d\n" % n for n in range(20))
OURS, THEIRS = TEXT.replace(b"line 3", b"ours 3"), TEXT.replace(b"line 3", b"theirs 3")


def link(trees: Trees, target: bytes) -> TreeEntry:
    return TreeEntry(kind="symlink", hash=blob_hash(target), size=len(target))


async def conflicts(trees: Trees, base: Any, ours: Any, theirs: Any) -> list[Conflict]:
    with pytest.raises(MergeConflict) as raised:
        await merged(trees, base, ours, theirs)
    return [Conflict.model_validate(row) for row in raised.value.details["conflicts"]]


@pytest.mark.parametrize(
    ("kind", "base", "ours", "theirs", "names"),
    [
        ("content", {"f": TEXT}, {"f": OURS}, {"f": THEIRS}, ("f", "", "", "")),
        ("binary", {"f": b"\0"}, {"f": b"\0a"}, {"f": b"\0b"}, ("f", "", "", "")),
        ("add_add", {}, {"f": OURS}, {"f": THEIRS}, ("f", "", "", "")),
        ("add_add", {}, {"f": (TEXT, 0o755)}, {"f": TEXT}, ("f", "", "", "")),
        ("modify_delete", {"f": TEXT}, {"f": OURS}, {}, ("f", "", "", "")),
        ("modify_delete", {"d/f": TEXT}, {}, {"d/f": (TEXT, 0o755)}, ("d/f", "", "", "")),
        ("directory_file", {}, {"p": b"1"}, {"p/f": b"2"}, ("p", "", "", "")),
        ("directory_file", {"p/f": b"1"}, {"p": b"now a file"}, {"p/f": b"2"}, ("p", "", "", "")),
        ("content", {"a": TEXT}, {"b": OURS}, {"a": THEIRS}, ("b", "a", "", "a")),
        ("content", {"a": TEXT}, {"a": OURS}, {"b": THEIRS}, ("b", "a", "a", "")),
        ("content", {"a": TEXT}, {"b": OURS}, {"b": THEIRS}, ("b", "a", "", "")),
        ("rename_rename", {"a": TEXT}, {"b": TEXT}, {"c": TEXT}, ("b", "a", "", "c")),
        ("rename_delete", {"a": TEXT}, {"b": TEXT}, {}, ("b", "a", "", "")),
        ("rename_delete", {"a": TEXT}, {}, {"b": TEXT}, ("b", "a", "", "")),
        ("rename_add", {"a": TEXT}, {"b": TEXT}, {"a": TEXT, "b": b"another"}, ("b", "a", "", "")),
    ],
)
async def test_kinds_of_conflicts(trees, kind, base, ours, theirs, names):
    found = await conflicts(trees, base, ours, theirs)
    conflict = next(c for c in found if c.kind == kind)
    assert (conflict.path, conflict.base_path, conflict.ours_path, conflict.theirs_path) == names
    for side, tree in (("base", base), ("ours", ours), ("theirs", theirs)):
        if (kind, side) == ("rename_add", "base"):
            continue  # the two files have no base in common
        path = getattr(conflict, f"{side}_path") or conflict.path
        data = tree.get(path)
        entry = getattr(conflict, side)
        if entry is not None and entry.kind == "file":
            assert entry.hash == blob_hash(data[0] if isinstance(data, tuple) else data)
        else:
            assert data is None


async def test_two_files_renamed_to_one_name(trees):
    other = TEXT.replace(b"line", b"row")
    (found,) = await conflicts(trees, {"a": TEXT, "b": other}, {"c": TEXT, "b": other}, {"a": TEXT, "c": other})
    assert (found.path, found.kind, found.ours.hash, found.theirs.hash) == (
        "c", "rename_rename", blob_hash(TEXT), blob_hash(other),
    )  # fmt: skip


async def test_links_that_clash(trees, blobs):
    for target in (b"x", b"y", b"z"):
        await blobs.put(target)
    x, y, z = (link(trees, target) for target in (b"x", b"y", b"z"))
    for base, ours, theirs, kind in ((x, y, z, "symlink"), (TEXT, x, OURS, "type_changed"), (None, x, y, "add_add")):
        (found,) = await conflicts(trees, {"l": base} if base else {}, {"l": ours}, {"l": theirs})
        assert (found.path, found.kind) == ("l", kind)


async def test_a_large_file_is_a_conflict_and_is_never_read(trees, blobs):
    sides = [TreeEntry(kind="file", hash=blob_hash(b"%d" % n), size=2 * 1024 * 1024) for n in range(3)]
    (found,) = await conflicts(trees, *({"big": side} for side in sides))
    assert (found.path, found.kind, found.theirs) == ("big", "too_large", sides[2])
    # One side changed it, or renamed it as it is: there is nothing to merge, so it need not even be here.
    base = await trees.put_files(EMPTY_TREE, {"big": sides[0], "f": b"1"})
    ours = await trees.put_files(base, {"big": None, "new/big": sides[0]})
    theirs = await trees.put_files(base, {"big": sides[1], "f": b"2"})
    tree = await trees.merge(base, ours, theirs)
    assert await trees.entry(tree, "new/big") == sides[1]
    assert await trees.entry(tree, "big") is None


# --- renames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ({"a": TEXT}, {"b": TEXT}, {"a": THEIRS}, {"b": THEIRS}),
        ({"a": TEXT}, {"b": TEXT + b"more\n"}, {"a": THEIRS}, {"b": THEIRS + b"more\n"}),
        ({"a": TEXT}, {"deep/down/b": TEXT}, {"a": THEIRS, "deep/x": b""}, {"deep/down/b": THEIRS, "deep/x": b""}),
        ({"a": TEXT}, {"b": TEXT + b"more\n"}, {"b": THEIRS}, {"b": THEIRS + b"more\n"}),
        # A module becomes a package, and a package a module.
        ({"mod.py": TEXT}, {"mod.py/__init__.py": TEXT}, {"mod.py": THEIRS}, {"mod.py/__init__.py": THEIRS}),
        ({"mod/a.py": TEXT}, {"mod": TEXT}, {"mod/a.py": THEIRS}, {"mod": THEIRS}),
        # A directory is moved, file by file; what the other side put into the old one stays there.
        (
            {f"old/{n}": TEXT + b"%d\n" % n for n in range(3)},
            {f"new/{n}": TEXT + b"%d\n" % n for n in range(3)},
            {"old/0": TEXT + b"0\n", "old/1": TEXT + b"1!\n", "old/2": TEXT + b"2\n", "old/3": b"added"},
            {"new/0": TEXT + b"0\n", "new/1": TEXT + b"1!\n", "new/2": TEXT + b"2\n", "old/3": b"added"},
        ),
        # Half of it is other text: no rename, so a file both sides may delete or keep.
        ({"a": TEXT, "k": b""}, {"b": b"nothing alike\n" * 30, "k": b""}, {"a": TEXT, "k": b"1"},
         {"b": b"nothing alike\n" * 30, "k": b"1"}),
    ],
)  # fmt: skip
async def test_renames_are_followed(trees, base, ours, theirs, result):
    assert await merged(trees, base, ours, theirs) == result
    assert await merged(trees, base, theirs, ours) == result


async def test_a_renamed_file_keeps_the_mode_the_other_side_gave_it(trees):
    sides = [{"a": (TEXT, 0o644)}, {"b": (TEXT, 0o644)}, {"a": (TEXT, 0o755)}]
    hashes = [await trees.put_files(EMPTY_TREE, side) for side in sides]
    assert await flat(trees, await trees.merge(*hashes)) == {"b": (TEXT, 0o755)}


async def test_clashing_renames_can_be_settled(trees):
    sides = {"a": TEXT, "k": b""}, {"b": TEXT, "k": b"1"}, {"c": TEXT, "k": b""}
    assert await merged(trees, *sides, on_conflict="ours") == {"b": TEXT, "k": b"1"}
    assert await merged(trees, *sides, on_conflict="theirs") == {"c": TEXT, "k": b"1"}
    both = {"b": b"1", "c": None, "d": b"2"}
    assert await merged(trees, *sides, on_conflict=lambda conflict: both) == {"b": b"1", "d": b"2", "k": b"1"}
    gone: tuple[dict[str, bytes], ...] = ({"a": TEXT}, {"b": TEXT}, {})
    assert await merged(trees, *gone, on_conflict="ours") == {"b": TEXT}
    assert await merged(trees, *gone, on_conflict="theirs") == {}


async def test_a_conflict_inside_of_another_is_settled_with_it(trees):
    """A file of theirs takes the place of a directory in which we renamed what they deleted."""
    sides = {"p/a": TEXT, "p/k": b"1"}, {"p/b": TEXT, "p/k": b"2"}, {"p": b"a file"}
    assert await merged(trees, *sides, on_conflict="theirs") == {"p": b"a file"}
    assert await merged(trees, *sides, on_conflict="ours") == {"p/b": TEXT, "p/k": b"2"}


async def test_nothing_is_stored_before_the_merge_has_succeeded(trees, blobs):
    hashes = [
        await trees.put_files(EMPTY_TREE, {"a": data, "d/b": other, "f": last})
        for data, other, last in ((TEXT, TEXT, b"1"), (OURS, TEXT + b"x\n", b"2"), (THEIRS, b"x\n" + TEXT, b"2"))
    ]
    before = {blob.hash async for blob in blobs.stored()}
    with pytest.raises(MergeConflict):
        await trees.merge(*hashes)
    assert {blob.hash async for blob in blobs.stored()} == before
    tree = await trees.merge(*hashes, on_conflict="ours")
    new = {blob.hash async for blob in blobs.stored()} - before
    assert len(new) == 3  # the merged text, and the two directories above it
    assert await Trees(blobs).read_file(tree, "d/b") == b"x\n" + TEXT + b"x\n"


async def test_empty_directories_are_merged_too(trees):
    empty = TreeEntry(kind="dir", hash=EMPTY_TREE, mode=0o755)
    base, ours, theirs = [
        await trees.put_files(EMPTY_TREE, side)
        for side in ({"e": empty, "f": b""}, {"e": empty, "f": b"1", "new": empty}, {"f": b""})
    ]
    tree = await trees.merge(base, ours, theirs)
    assert {path: e.kind async for path, e in trees.walk(tree, dirs=True)} == {"f": "file", "new": "dir"}


async def test_ends_of_lines_are_kept(trees):
    windows = TEXT.replace(b"\n", b"\r\n")
    ours, theirs = windows.replace(b"line 3", b"ours"), windows[:-2]
    assert await merged(trees, {"f": windows}, {"f": ours}, {"f": theirs}) == {"f": ours[:-2]}
