"""Directories become trees and come back; only what changed is read; nothing lands outside."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from box_agent.files.cache import BlobCache
from box_agent.files.limits import TreeLimits
from box_agent.files.materialise import Materialiser
from box_agent.files.scan import scan
from schemas.errors import BlobNotFound, IntegrityError, InvalidInput, PayloadTooLarge
from schemas.tree import EMPTY_TREE, MARK, TreeEntry, blob_hash, encode_tree


async def _nothing(digests: list[str]) -> dict[str, bytes]:
    raise BlobNotFound(f"no blob {digests[0]}")


def _fill(cache: BlobCache, blobs: dict[str, bytes | Path]) -> None:
    for blob in blobs.values():
        cache.put(blob if isinstance(blob, bytes) else blob.read_bytes())


def _listing(top: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for folder, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(folder, name)
            key = str(path.relative_to(top))
            if path.is_symlink():
                found[key] = ("link", path.readlink())
            elif path.is_dir():
                found[key] = "dir"
            else:
                found[key] = (path.read_bytes(), bool(path.stat().st_mode & 0o111))
    return found


names = st.sampled_from(["a", "b", "ü.txt", "with space", "-dash", os.fsdecode(b"caf\xe9")])
tree_of = st.recursive(
    st.tuples(st.just("file"), st.binary(max_size=40), st.booleans())
    | st.tuples(st.just("link"), st.sampled_from(["x", "../../etc", "/dev/null"])),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def _make(at: Path, content: object) -> None:
    if isinstance(content, dict):
        at.mkdir()
        for name, inner in content.items():
            _make(at / name, inner)
    elif content[0] == "link":  # type: ignore[index]
        at.symlink_to(content[1])  # type: ignore[index]
    else:
        at.write_bytes(content[1])  # type: ignore[index]
        at.chmod(0o755 if content[2] else 0o644)  # type: ignore[index]


@given(st.dictionaries(names, tree_of, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
async def test_a_directory_survives_the_round_trip(tmp_path_factory, content):
    top = tmp_path_factory.mktemp("round")
    _make(top / "in", content)
    found = scan(top / "in")
    cache = BlobCache(top / "cache")
    _fill(cache, found.blobs)
    manifest = await Materialiser(cache, _nothing).write(found.tree, top / "out")
    assert _listing(top / "out") == _listing(top / "in")
    again = scan(top / "out", known=manifest)
    assert again.tree == found.tree
    assert not [b for b in again.blobs.values() if isinstance(b, Path)], "an unchanged file was read again"


async def test_only_what_changed_is_read_again(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for i in range(20):
        (source / f"f{i}").write_text(f"content {i}")
    first = scan(source)
    (source / "f3").write_text("CONTENT 3")  # same size
    os.utime(source / "f4", (1, 1))
    (source / "f5").unlink()
    second = scan(source, known=first.manifest)
    assert {p.name for p in second.blobs.values() if isinstance(p, Path)} == {"f3", "f4"}
    assert second.tree == scan(source).tree != first.tree


async def test_a_forged_modification_time_does_not_hide_a_change(tmp_path):
    file = tmp_path / "f"
    file.write_text("aaaa")
    first = scan(tmp_path)
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks every few milliseconds
        file.write_text("bbbb")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scan(tmp_path, known=first.manifest).tree != first.tree


def test_caches_sockets_and_pipes_are_left_out(tmp_path):
    for name in (".git", "__pycache__", "node_modules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x")
    (tmp_path / "m.pyc").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    assert scan(tmp_path).tree == EMPTY_TREE


@pytest.mark.parametrize("limits", [TreeLimits(files=2), TreeLimits(total_bytes=10), TreeLimits(depth=1)])
def test_limits_are_met_before_everything_is_read(tmp_path, limits):
    for path in ("a", "b", "c/d/e"):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("0123456789")
    with pytest.raises(PayloadTooLarge, match="more than"):
        scan(tmp_path, limits=limits)


def test_a_huge_sparse_file_is_refused_without_reading_it(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(3 * 1024**3)
    started = time.monotonic()
    with pytest.raises(PayloadTooLarge):
        scan(tmp_path)
    assert time.monotonic() - started < 1


def test_what_is_no_directory_is_a_clear_error(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        scan(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="Not a directory"):
        scan(tmp_path / "file")


async def test_a_tree_cannot_write_outside(tmp_path):
    cache = BlobCache(tmp_path / "cache")
    evil = cache.put(b"evil")
    for name in ("..", "a/../../x", "/abs", ""):
        row = f'{{"{MARK}":{{"{name}":["file","{evil}",4,420]}}}}'.encode()
        with pytest.raises(IntegrityError):
            await Materialiser(cache, _nothing).write(cache.put(row), tmp_path / "out")
    outside = tmp_path / "outside"
    outside.mkdir()
    link = cache.put(os.fsencode(outside))
    tree = {"l": TreeEntry(kind="symlink", hash=link), "l.txt": TreeEntry(kind="file", hash=evil, size=4)}
    await Materialiser(cache, _nothing).write(cache.put(encode_tree(tree)), tmp_path / "out2")
    assert not list(outside.iterdir())
    assert not (tmp_path / "x").exists()


async def test_missing_blobs_are_fetched_in_few_rounds_and_verified(tmp_path):
    source = tmp_path / "in"
    for i in range(30):
        (source / f"d{i % 3}").mkdir(parents=True, exist_ok=True)
        (source / f"d{i % 3}" / f"f{i}").write_text(str(i))
    found = scan(source)
    everything = {blob_hash(b if isinstance(b, bytes) else b.read_bytes()): b for b in found.blobs.values()}
    rounds: list[int] = []

    async def fetch(digests: list[str]) -> dict[str, bytes]:
        rounds.append(len(digests))
        blobs = {d: everything[d] for d in digests}
        return {d: b if isinstance(b, bytes) else b.read_bytes() for d, b in blobs.items()}

    await Materialiser(BlobCache(tmp_path / "cache"), fetch).write(found.tree, tmp_path / "out")
    assert rounds == [1, 3, 30]

    async def lies(digests: list[str]) -> dict[str, bytes]:
        return dict.fromkeys(digests, b"other bytes")

    with pytest.raises(IntegrityError, match="other bytes"):
        await Materialiser(BlobCache(tmp_path / "cache2"), lies).write(found.tree, tmp_path / "out3")


def test_a_damaged_blob_is_not_served(tmp_path):
    cache = BlobCache(tmp_path)
    digest = cache.put(b"good")
    cache.path(digest).write_bytes(b"bad!")
    assert cache.get(digest) is None
    assert not cache.has(digest)


def test_pruning_drops_the_least_recently_used(tmp_path):
    cache = BlobCache(tmp_path)
    digests = [cache.put(bytes([i]) * 1000) for i in range(5)]
    for age, digest in enumerate(digests):
        os.utime(cache.path(digest), (1000 + age, 1000 + age))
    cache.get(digests[0])
    cache.prune(3100)
    assert [cache.has(d) for d in digests] == [True, False, False, True, True]


async def test_what_is_damaged_in_the_cache_is_fetched_again(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    large = os.urandom(9 * 1024 * 1024)  # copied in pieces
    contents = {"a": b"a" * 300_000, "b": b"b" * 300_000, "large": large, "z": b"z"}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    found = scan(source)
    cache = BlobCache(tmp_path / "cache")
    _fill(cache, found.blobs)
    damaged = {blob_hash(contents[name]) for name in ("b", "large")}
    for digest in damaged:
        path = cache.path(digest)
        path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    fetched: list[str] = []

    async def fetch(digests: list[str]) -> dict[str, bytes]:
        fetched.extend(digests)
        return {blob_hash(data): data for data in contents.values() if blob_hash(data) in digests}

    await Materialiser(cache, fetch).write(found.tree, tmp_path / "out")
    assert set(fetched) == damaged
    assert {name: (tmp_path / "out" / name).read_bytes() for name in contents} == contents
    assert scan(tmp_path / "out").tree == found.tree

    cache.path(blob_hash(large)).write_bytes(b"rotten")

    async def lies(digests: list[str]) -> dict[str, bytes]:
        for digest in digests:
            cache.path(digest).write_bytes(b"rotten again")
        return {}

    with pytest.raises(IntegrityError) as caught:
        await Materialiser(cache, lies).write(found.tree, tmp_path / "out2")
    assert caught.value.details["blob"] == blob_hash(large)


@pytest.mark.parametrize("data", [b"", b"one", b"x" * 100_000], ids=len)
def test_a_blob_that_comes_in_pieces(tmp_path, data):
    cache = BlobCache(tmp_path)
    digest = blob_hash(data)
    for start in range(0, len(data), 30_000):
        assert cache.received(digest) == BlobCache(tmp_path).received(digest) == start
        assert not cache.has(digest)
        cache.append(digest, data[start : start + 30_000])
    cache.finish(digest)
    assert cache.get(digest) == data
    assert cache.received(digest) == 0


def test_pieces_that_are_something_else_are_dropped(tmp_path):
    cache = BlobCache(tmp_path)
    digest = blob_hash(b"expected")
    cache.append(digest, b"other")
    with pytest.raises(IntegrityError):
        cache.finish(digest)
    assert not cache.has(digest)
    assert cache.received(digest) == 0
