"""Trees against a plain dict of paths."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_store.blobs.directory import DirectoryBlobs
from context_store.trees import FileEdit, Trees
from context_store.trees.similarity import pieces, similarity
from schemas.errors import BlobNotFound, IntegrityError, InvalidInput, NotFound
from schemas.tree import EMPTY_TREE, TreeEntry, blob_hash

NAMES = st.sampled_from(["a", "b", "c.txt", "\udc80", "é", "%2e"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.sampled_from([b"", b"1", b"2", b"\0\xff"])
EDITS = st.dictionaries(
    PATHS, st.none() | CONTENTS | st.tuples(CONTENTS, st.sampled_from([0o644, 0o755, 0o600])), max_size=6
)
Model = dict[str, tuple[bytes, int]]


def sound(edits: dict[str, Any]) -> bool:
    return not clashes(edits)


def clashes(edits: dict[str, FileEdit]) -> bool:
    puts = [path for path, edit in edits.items() if edit is not None]
    return any(path.startswith(f"{other}/") for path in edits for other in puts if path != other)


def apply(model: Model, edits: dict[str, Any]) -> Model:
    """What `put_files` should do."""
    deleted = [path for path, edit in edits.items() if edit is None]
    after = {p: v for p, v in model.items() if not any(p == d or p.startswith(f"{d}/") for d in deleted)}
    for path, edit in edits.items():
        if edit is None:
            continue
        for other in list(after):
            if other.startswith(f"{path}/") or path.startswith(f"{other}/"):
                del after[other]
        if isinstance(edit, tuple):
            after[path] = (edit[0], 0o755 if edit[1] & 0o111 else 0o644)
        else:
            after[path] = (edit, model[path][1] if path in model else 0o644)
    return after


async def flat(trees: Trees, tree: str) -> Model:
    return {path: (await trees.blobs.get(e.hash), e.mode) async for path, e in trees.walk(tree)}


def in_fresh_trees(check) -> None:
    async def run() -> None:
        with TemporaryDirectory() as directory:
            async with DirectoryBlobs(Path(directory)) as store:
                await check(Trees(store.tenant("default")))

    asyncio.run(run())


@settings(max_examples=60)
@given(steps=st.lists(EDITS.filter(sound), max_size=4))
def test_edits_do_what_they_do_to_a_dict(steps):
    async def check(trees: Trees) -> None:
        tree, model = EMPTY_TREE, Model()
        for edits in steps:
            before, was = tree, model
            tree, model = await trees.put_files(tree, edits), apply(model, edits)
            assert await flat(trees, tree) == model
            # Equal content, equal hash, however it came to be; no empty directory stays behind.
            assert tree == await trees.put_files(EMPTY_TREE, dict(model))
            assert tree == await Trees(trees.blobs).put_files(before, edits)
            changed = {p for p in was.keys() | model.keys() if was.get(p) != model.get(p)}
            assert {c.path for c in await trees.diff(before, tree) if _is_file(c)} == changed
            assert (await trees.stat(tree)).files == len(model)

    in_fresh_trees(check)


def _is_file(change) -> bool:
    sides = [side for side in (change.before, change.after) if side is not None]
    return any(side.kind == "file" for side in sides)


async def test_diff_names_what_happened(trees):
    before = await trees.put_files(
        EMPTY_TREE, {"gone": b"1", "same": b"1", "mode": b"1", "text": b"1", "file": b"1", "d/x": b"1"}
    )
    after = await trees.put_files(
        before,
        {
            "gone": None,
            "mode": (b"1", 0o755),
            "text": b"2",
            "new/deep": b"1",
            "file": None,
            "file/now": b"1",
            "d": None,
        },
    )
    changes = {c.path: c.kind for c in await trees.diff(before, after)}
    assert changes == {
        "gone": "deleted", "mode": "mode_changed", "text": "modified", "new/deep": "added",
        "file": "type_changed", "file/now": "added", "d/x": "deleted",
    }  # fmt: skip
    assert [c.path for c in await trees.diff(before, after)] == sorted(changes)
    assert await trees.diff(after, after) == []
    back = {c.path: c.kind for c in await trees.diff(after, before)}
    assert (back["gone"], back["new/deep"], back["file"], back["d/x"]) == ("added", "deleted", "type_changed", "added")


async def test_diff_reads_only_what_differs(trees, blobs):
    before = await trees.put_files(EMPTY_TREE, {f"d{n}/e/f": b"%d" % n for n in range(20)})
    after = await trees.put_files(before, {"d3/e/f": b"new"})
    unrelated = [e.hash async for p, e in trees.walk(before, dirs=True) if e.kind == "dir" and not p.startswith("d3")]
    for tree in unrelated:
        await blobs.delete(tree)
    assert [c.path for c in await Trees(blobs).diff(before, after)] == ["d3/e/f"]
    assert await Trees(blobs).put_files(before, {"d3/e/f": b"new"}) == after


async def test_symlinks_and_empty_directories_travel_unchanged(trees, blobs):
    link = TreeEntry(kind="symlink", hash=await blobs.put(b"../target"), size=9, mode=0o777)
    empty = TreeEntry(kind="dir", hash=EMPTY_TREE, mode=0o755)
    tree = await trees.put_files(EMPTY_TREE, {"l": link, "e": empty, "d/f": b""})
    assert (await trees.entry(tree, "l"), await trees.entry(tree, "e")) == (link, empty)
    assert await trees.read_file(tree, "l") == b"../target"
    after = await trees.put_files(tree, {"d/f": None})
    assert [(p, e.kind) async for p, e in trees.walk(after, dirs=True)] == [("e", "dir"), ("l", "symlink")]
    assert [(c.path, c.kind) for c in await trees.diff(after, EMPTY_TREE)] == [("e", "deleted"), ("l", "deleted")]


async def test_walk_is_in_order(trees):
    tree = await trees.put_files(EMPTY_TREE, {"b/2": b"", "a": b"", "b/1/x": b"", "c": b"", "b.txt": b""})
    assert [p async for p, _ in trees.walk(tree)] == ["a", "b/1/x", "b/2", "b.txt", "c"]
    assert [p async for p, _ in trees.walk(tree, dirs=True)] == ["a", "b", "b/1", "b/1/x", "b/2", "b.txt", "c"]
    assert (await trees.stat(tree, limit=2)).paths == ["a", "b/1/x"]


async def test_reading_what_is_not_there(trees, blobs):
    tree = await trees.put_files(EMPTY_TREE, {"d/f": b"x"})
    for path in ("x", "d/x", "d/f/x"):
        with pytest.raises(NotFound):
            await trees.read_file(tree, path)
    with pytest.raises(InvalidInput):
        await trees.read_file(tree, "d")
    with pytest.raises(BlobNotFound):
        await trees.read(blob_hash(b"none"))
    with pytest.raises(IntegrityError):
        await trees.read(await blobs.put(b"no tree"))


@pytest.mark.parametrize(
    "path", ["", "/abs", "a//b", "a/", ".", "..", "a/../b", "a/\0", "x" * 256, "/".join("d" * 129)]
)
async def test_bad_paths(trees, path):
    with pytest.raises(InvalidInput):
        await trees.put_files(EMPTY_TREE, {path: b""})


async def test_an_edit_cannot_make_a_file_and_something_below_it(trees):
    for edits in ({"a": b"", "a/b": b""}, {"a/b": None, "a": b""}):
        with pytest.raises(InvalidInput):
            await trees.put_files(EMPTY_TREE, edits)


async def test_deleting_below_a_file_leaves_the_file(trees):
    tree = await trees.put_files(EMPTY_TREE, {"a": b"1"})
    assert await trees.put_files(tree, {"a/b/c": None, "x/y": None}) == tree


async def test_a_copy_is_read(trees):
    tree = await trees.put_files(EMPTY_TREE, {"a": b"1"})
    (await trees.read(tree)).clear()
    assert await trees.read_file(tree, "a") == b"1"


async def test_large_texts_and_directories_are_not_diffed(trees):
    tree = await trees.put_files(EMPTY_TREE, {"big": b"x\n" * 200_000, "d": TreeEntry(kind="dir", hash=EMPTY_TREE)})
    texts = {c.path: await trees.change_text(c) for c in await trees.diff(EMPTY_TREE, tree)}
    assert texts["big"] == "big: 400000 bytes, too large to show\n"
    assert texts["d"] == ""


async def test_a_diff_tells_what_was_renamed(trees):
    text = b"".join(b"line %d\n" % n for n in range(20))
    before = await trees.put_files(
        EMPTY_TREE, {"old/a.py": text, "mod.py": text.replace(b"line", b"row"), "gone": b"1\n", "img": b"\0\1" * 99}
    )
    after = await trees.put_files(
        EMPTY_TREE,
        {
            "new/a.py": (text + b"more\n", 0o755),
            "mod.py/__init__.py": text.replace(b"line", b"row"),
            "came": b"something else\n",
            "pic": b"\0\1" * 99,
        },
    )
    found = {c.path: c for c in await trees.diff(before, after, renames=True)}
    assert {path: (c.kind, c.from_path) for path, c in found.items()} == {
        "new/a.py": ("renamed", "old/a.py"),
        "mod.py": ("type_changed", ""),
        "mod.py/__init__.py": ("renamed", "mod.py"),
        "came": ("added", ""),
        "gone": ("deleted", ""),
        "pic": ("renamed", "img"),
    }
    assert await trees.change_text(found["new/a.py"]) == (
        "old mode 100644\nnew mode 100755\nrename from old/a.py\nrename to new/a.py\n"
        "--- a/old/a.py\n+++ b/new/a.py\n@@ -18,3 +18,4 @@\n line 17\n line 18\n line 19\n+more\n"
    )
    assert await trees.change_text(found["pic"]) == "rename from img\nrename to pic\n"
    assert {c.kind for c in await trees.diff(before, after)} == {"added", "deleted", "type_changed"}


async def test_a_changed_mode_is_no_change_of_content(trees):
    before = await trees.put_files(EMPTY_TREE, {"f": (b"1\n", 0o644), "bin": b"\0"})
    after = await trees.put_files(before, {"f": (b"1\n", 0o755), "bin": b"\0\0"})
    texts = {c.path: (c.kind, await trees.change_text(c)) for c in await trees.diff(before, after)}
    assert texts["f"] == ("mode_changed", "old mode 100644\nnew mode 100755\n")
    assert texts["bin"] == ("modified", "Binary files a/bin and b/bin differ\n")


async def test_a_diff_compares_only_so_many_pairs(trees, blobs):
    """Above 10,000 pairs names are compared by content hash, and one by one where the name is the same."""
    text = b"".join(b"line %d\n" % n for n in range(20))
    before = await trees.put_files(EMPTY_TREE, {f"a/{n}": text + b"%d" % n for n in range(120)})
    after = await trees.put_files(EMPTY_TREE, {f"b/{n if n < 60 else -n}": text + b"%d!" % n for n in range(120)})
    kinds = [c.kind for c in await trees.diff(before, after, renames=True)]
    assert kinds.count("renamed") == 120  # sixty by name, then 60 times 60 pairs are few enough
    after = await trees.put_files(EMPTY_TREE, {f"b/-{n}": text + b"%d!" % n for n in range(120)})
    assert {c.kind for c in await trees.diff(before, after, renames=True)} == {"added", "deleted"}


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_similarity_is_a_share_of_the_larger(a, b):
    found = similarity(pieces(a), len(a), pieces(b), len(b))
    assert 0 <= found <= 1
    assert found == similarity(pieces(b), len(b), pieces(a), len(a))
    if a and b"\r" not in a:
        assert similarity(pieces(a), len(a), pieces(a), len(a)) == 1
