"""Merging trees, held against ``git merge-tree`` on many generated histories."""

from __future__ import annotations

import os

import pytest

from context_store.trees import FileEdit, Trees
from schemas.errors import MergeConflict
from schemas.tree import EMPTY_TREE, Conflict, TreeEntry
from tests.unit.context_store.git_oracle import LINK, Files, Git, History, Verdict
from tests.unit.context_store.histories import Histories

HISTORIES = 160
PLAIN = ["edit", "edit", "edit", "delete", "mode", "add", "touch", "link"]
RENAMES = ["edit", "edit", "edit", "rename", "rename", "rename_edit", "delete", "mode", "add"]


async def stored(trees: Trees, files: Files) -> str:
    edits: dict[str, FileEdit] = {}
    for path, (data, mode) in files.items():
        edit: FileEdit = (data, mode)
        if mode == LINK:
            edit = TreeEntry(kind="symlink", hash=await trees.blobs.put(data), size=len(data))
        edits[os.fsdecode(path)] = edit
    return await trees.put_files(EMPTY_TREE, edits)


async def flat(trees: Trees, tree: str) -> Files:
    return {
        os.fsencode(path): (await trees.blobs.get(e.hash), LINK if e.kind == "symlink" else e.mode)
        async for path, e in trees.walk(tree)
    }


async def merged(trees: Trees, history: History) -> Verdict:
    base, ours, theirs = [await stored(trees, side) for side in history]
    try:
        return Verdict(await flat(trees, await trees.merge(base, ours, theirs)), frozenset())
    except MergeConflict as conflict:
        rows = [Conflict.model_validate(row) for row in conflict.details["conflicts"]]
        names = {name for c in rows for name in (c.path, c.base_path, c.ours_path, c.theirs_path) if name}
        return Verdict(None, frozenset(map(os.fsencode, names)))


def covered(path: bytes, names: frozenset[bytes]) -> bool:
    return any(path == name or path.startswith(name + b"/") for name in names)


@pytest.mark.parametrize(("seed", "kinds"), [(1, PLAIN), (2, RENAMES), (3, RENAMES)], ids=["plain", "rename", "again"])
async def test_as_git_does(trees, tmp_path, seed, kinds):
    histories = [Histories(seed * 1000 + n, kinds).one() for n in range(HISTORIES)]
    verdicts = Git(tmp_path).merge_all(histories)
    clean = 0
    for number, (history, expected) in enumerate(zip(histories, verdicts, strict=True)):
        found = await merged(trees, history)
        assert found.files == expected.files, f"history {number} of seed {seed}: git {expected}, we {found}"
        clean += found.files is not None
        # We also say what a file was called; git also names what is inside of a directory that clashes with a file.
        assert all(covered(path, found.conflicts) for path in expected.conflicts), f"history {number} of seed {seed}"
        if number % 4 == 0:  # the sides are equal partners
            mirrored = await merged(trees, (history[0], history[2], history[1]))
            assert mirrored.files == found.files, f"history {number} of seed {seed}, mirrored"
    assert HISTORIES / 3 < clean < HISTORIES * 0.9
