"""Objects in JetStream: one bucket of NATS' object store to a tenant, as its own clients write and list them.

nats-py's reader is not used. It appends each chunk to one ``bytes``, which is quadratic, and takes its chunks from a
consumer that nothing holds back: here the metadata say where each chunk lies, and eight at a time are asked for by
direct gets, from any offset. Its writer waits for each chunk, and leaves the chunks of a cancelled upload behind.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import APIError, BadRequestError, Error, NotFoundError

from context_store.blobs.objects import Objects, ObjectStore
from context_store.blobs.port import StoredBlob
from context_store.blobs.together import together
from schemas.errors import BlobNotFound, IntegrityError, StoreUnavailable
from schemas.ids import check_name

T = TypeVar("T")

_CHUNK_BYTES: Final = 256 * 1024
_WINDOW: Final = 8
_ROLLUP: Final = {"Nats-Rollup": "sub"}
_WHERE: Final = "boxhub-sequences"
_WRONG_LAST_SEQUENCE: Final = 10071
_NAME_IN_USE: Final = 10058
_PAUSE_S: Final = 0.1
_TRIES: Final = 3


class JetStreamStore(ObjectStore):
    """Buckets on the NATS servers at ``url``, over a connection of its own that comes back by itself.

    ``replicas`` counts the servers that hold a bucket when it is made. One operation of the server may take
    ``timeout_s``, a restart of it included.
    """

    def __init__(self, url: str, *, replicas: int = 1, timeout_s: float = 15.0) -> None:
        self._url = url
        self._replicas = replicas
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._js: JetStreamContext | None = None
        self._closed = False

    async def open(self) -> None:
        client = Client()
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.connect(
                    self._url,
                    name="boxhub blobs",
                    error_cb=_silent,  # what fails, fails where it was asked for
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.1,  # type: ignore[arg-type]
                    ping_interval=2,
                    max_outstanding_pings=2,
                    connect_timeout=2,
                )
        except (TimeoutError, OSError, nats.errors.Error) as error:
            await client.close()
            raise StoreUnavailable(f"no nats-server answers within {self._timeout_s:g} s: {error}") from error
        self._client, self._js = client, client.jetstream(timeout=2)

    def tenant(self, tenant: str) -> JetStreamObjects:
        return JetStreamObjects(self, f"boxhub-blobs-{check_name(tenant, 'tenant')}")

    async def ask(self, request: Callable[[JetStreamContext], Coroutine[Any, Any, T]]) -> T:
        """Make a request that may be repeated, until it is answered. Raises `StoreUnavailable`, `APIError`."""
        if self._closed or self._js is None:
            raise StoreUnavailable("the blobs on JetStream are not open")
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await _cancellable(request(self._js))
                    except APIError as error:
                        if error.code != 503:  # JetStream is not up yet, after a restart
                            raise
                    except nats.errors.ConnectionClosedError as error:
                        raise StoreUnavailable(f"the connection to NATS was closed: {error}") from error
                    except (TimeoutError, nats.errors.Error):
                        pass
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError as error:
            raise StoreUnavailable(f"JetStream did not answer within {self._timeout_s:g} s") from error

    async def ensure(self, bucket: str) -> None:
        """The bucket is there."""
        config = StreamConfig(
            name=f"OBJ_{bucket}",
            subjects=[f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
            discard=DiscardPolicy.NEW,
            allow_rollup_hdrs=True,
            allow_direct=True,
            num_replicas=self._replicas,
        )
        for attempt in range(_TRIES):
            try:
                await self.ask(lambda js: js.add_stream(config))
            except BadRequestError as error:
                # It is there with another number of replicas, which its operator may have chosen; or, before 2.10,
                # somebody makes it at this moment.
                if error.err_code != _NAME_IN_USE and attempt == _TRIES - 1:
                    raise StoreUnavailable(f"bucket {bucket}: {error.description}") from error
                if error.err_code == _NAME_IN_USE:
                    break
                await asyncio.sleep(_PAUSE_S)
            else:
                break
        # Servers before 2.10 die when they are asked for a message of a stream that somebody makes at this moment; this
        # kind of question they hear only when it is made.
        with contextlib.suppress(NotFoundError):
            await self.ask(lambda js: js.get_last_msg(str(config.name), f"$O.{bucket}.M.-", direct=True))

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            if self._client is not None:
                await self._client.close()


async def _cancellable(asking: Coroutine[Any, Any, T]) -> T:
    """Before Python 3.12 nats-py, by `asyncio.wait_for`, forgets a cancel that comes together with the answer."""
    task = asyncio.ensure_future(asking)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
    return task.result()


@dataclass(frozen=True)
class _Meta:
    """The metadata of an object, and their own place in the stream."""

    doc: dict[str, Any]
    sequence: int
    at: float

    @property
    def nuid(self) -> str:
        return str(self.doc["nuid"])

    @property
    def size(self) -> int:
        return int(self.doc.get("size") or 0)


class JetStreamObjects(Objects):
    def __init__(self, store: JetStreamStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"
        self._ensured = False
        self._ensuring = asyncio.Lock()

    async def stat(self, name: str) -> StoredBlob | None:
        meta = await self._meta(name)
        return StoredBlob(name, meta.size, meta.at) if meta is not None else None

    async def write(self, name: str, source: Path) -> None:
        await self._ensure()
        former = await self._meta(name)
        # The time in it tells `sweep` how old chunks are that no metadata name.
        nuid = f"{time.time_ns() // 1_000_000:x}-{secrets.token_hex(8)}"
        published = False
        try:
            digest, size, sequences = await self._write_chunks(source, self._chunks(nuid))
            doc = {
                "name": name,
                "bucket": self._bucket,
                "nuid": nuid,
                "size": size,
                "chunks": len(sequences),
                "digest": f"SHA-256={base64.urlsafe_b64encode(digest).decode()}",
                "headers": {_WHERE: [_ranges(sequences)]},
                "options": {"max_chunk_size": _CHUNK_BYTES},
            }
            await self._publish_meta(name, doc, {})
            published = True
        except APIError as error:
            raise StoreUnavailable(f"bucket {self._bucket}: {error.description}") from error
        finally:
            if not published:
                # Best effort, and bounded: what stays is for `sweep`.
                with contextlib.suppress(StoreUnavailable, APIError):
                    await asyncio.shield(self._purge(self._chunks(nuid)))
        if former is not None:
            await self._purge(self._chunks(former.nuid))

    async def touch(self, name: str) -> bool:
        meta = await self._meta(name)
        if meta is None:
            return False
        try:
            # Only if nobody wrote or deleted it meanwhile: chunks that are gone must not be named again.
            await self._publish_meta(name, meta.doc, {"Nats-Expected-Last-Subject-Sequence": str(meta.sequence)})
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return False
            raise StoreUnavailable(f"bucket {self._bucket}: {error.description}") from error
        return True

    async def read(self, name: str, offset: int, size: int) -> AsyncIterator[bytes]:
        meta = await self._meta(name)
        if meta is None:
            raise BlobNotFound(f"no blob {name}", hash=name)
        if meta.size != size:
            raise IntegrityError(f"{name} has {meta.size} bytes and not {size}", hash=name)
        step = int(meta.doc["options"]["max_chunk_size"])
        sequences = _expanded(meta.doc["headers"][_WHERE][0])
        skip = offset % step
        for start in range(offset // step, len(sequences), _WINDOW):
            for piece in await together(self._chunk(s, meta.nuid) for s in sequences[start : start + _WINDOW]):
                if piece is None:
                    return  # replaced or deleted while we read: what there is of it is not whole
                yield piece[skip:]
                skip = 0

    async def delete(self, name: str) -> bool:
        meta = await self._meta(name)
        if meta is None:
            return False
        await self._purge(self._meta_subject(name), up_to=meta.sequence)
        now = await self._meta(name)
        if now is None or now.nuid != meta.nuid:  # else somebody touched it just now, and it stays
            await self._purge(self._chunks(meta.nuid))
            return True
        return False

    async def stored(self) -> AsyncIterator[StoredBlob]:
        names = [_decoded(subject) for subject in await self._subjects("M")]
        for start in range(0, len(names), 4 * _WINDOW):
            for found in await together(self.stat(name) for name in names[start : start + 4 * _WINDOW]):
                if found is not None:
                    yield found

    async def sweep(self, older_than_s: float) -> int:
        latest = (time.time() - older_than_s) * 1000
        # Chunks first: what is written later has metadata that are seen, or is young.
        nuids = [subject.rpartition(".")[2] for subject in await self._subjects("C")]
        old = {nuid for nuid in nuids if _milliseconds(nuid) <= latest}
        if old:
            for subject in await self._subjects("M"):
                if (meta := await self._meta(_decoded(subject))) is not None:
                    old.discard(meta.nuid)
        for nuid in old:
            await self._purge(self._chunks(nuid))
        return len(old)

    # --- the stream --------------------------------------------------------------------------------------------------

    async def _ensure(self) -> None:
        async with self._ensuring:
            if not self._ensured:
                await self._store.ensure(self._bucket)
                self._ensured = True

    async def _meta(self, name: str) -> _Meta | None:
        await self._ensure()
        subject = self._meta_subject(name)
        try:
            # Not a direct get: a replica that lags behind might not know what is stored.
            found = await self._store.ask(lambda js: js.get_last_msg(self._stream, subject))
        except NotFoundError:
            return None
        except APIError as error:
            raise StoreUnavailable(f"bucket {self._bucket}: {error.description}") from error
        doc = json.loads(found.data or b"{}")
        if doc.get("deleted") or _WHERE not in (doc.get("headers") or {}):
            return None  # by a client of NATS: nothing of ours
        return _Meta(doc, int(found.seq or 0), datetime.fromisoformat(doc["mtime"]).timestamp())

    async def _publish_meta(self, name: str, doc: dict[str, Any], headers: dict[str, str]) -> None:
        body = json.dumps(doc | {"mtime": datetime.now(UTC).isoformat()}).encode()
        headers = {**_ROLLUP, **headers, "Nats-Msg-Id": secrets.token_hex(8)}
        subject = self._meta_subject(name)
        await self._store.ask(lambda js: js.publish(subject, body, headers=headers, timeout=2))

    async def _write_chunks(self, source: Path, subject: str) -> tuple[bytes, int, list[int]]:
        """Digest, size, and where each chunk came to lie; eight on their way at once."""
        digest, size = hashlib.sha256(), 0
        sequences: list[int] = []
        while window := await asyncio.to_thread(_window, source, size):
            digest.update(window)
            sequences += await together(
                self._publish_chunk(subject, size + at, window[at : at + _CHUNK_BYTES])
                for at in range(0, len(window), _CHUNK_BYTES)
            )
            size += len(window)
        return digest.digest(), size, sequences

    async def _publish_chunk(self, subject: str, offset: int, chunk: bytes) -> int:
        # Sent again after a lost answer, it is known by its id and given its first place.
        headers = {"Nats-Msg-Id": f"{subject}/{offset}"}
        try:
            ack = await self._store.ask(lambda js: js.publish(subject, chunk, headers=headers, timeout=2))
        except APIError as error:
            raise StoreUnavailable(f"bucket {self._bucket}: {error.description}") from error
        return ack.seq

    async def _chunk(self, sequence: int, nuid: str) -> bytes | None:
        try:
            found = await self._store.ask(lambda js: js.get_msg(self._stream, sequence, direct=True))
        except NotFoundError:
            return None
        except APIError as error:
            raise StoreUnavailable(f"bucket {self._bucket}: {error.description}") from error
        return found.data if found.subject == self._chunks(nuid) else None

    async def _subjects(self, kind: str) -> list[str]:
        await self._ensure()
        found: list[str] = []
        pattern = f"$O.{self._bucket}.{kind}.>"
        while True:  # the server gives at most 100,000 at once
            body = json.dumps({"subjects_filter": pattern, "offset": len(found)}).encode()
            answer = await self._store.ask(
                lambda js: js._api_request(f"{js._prefix}.STREAM.INFO.{self._stream}", body, timeout=5)  # noqa: B023
            )
            subjects = (answer["state"] or {}).get("subjects") or {}
            found += subjects
            if not subjects or len(found) >= answer.get("total", 0):
                return found

    async def _purge(self, subject: str, *, up_to: int = 0) -> None:
        """Remove what is stored under the subject, ``up_to`` and with that place in the stream, if given."""
        bound = up_to + 1 if up_to else None
        try:
            await self._store.ask(lambda js: js.purge_stream(self._stream, seq=bound, subject=subject))
        except Error as error:
            raise StoreUnavailable(f"bucket {self._bucket}: {error}") from error

    def _chunks(self, nuid: str) -> str:
        return f"$O.{self._bucket}.C.{nuid}"

    def _meta_subject(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


async def _silent(error: Exception) -> None:
    """nats-py would print it."""


def _window(source: Path, offset: int) -> bytes:
    # Opened each time: who is cancelled while a thread opens a file has nothing to close.
    with source.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK_BYTES * _WINDOW)


def _decoded(subject: str) -> str:
    return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()


def _milliseconds(nuid: str) -> float:
    """When a writer of ours made the name; chunks of others are never old."""
    try:
        return int(nuid.partition("-")[0], 16) if "-" in nuid else float("inf")
    except ValueError:
        return float("inf")


def _ranges(sequences: list[int]) -> str:
    """``[3, 4, 5, 9]`` as ``3-5,9-9``."""
    ranges: list[list[int]] = []
    for sequence in sequences:
        if ranges and ranges[-1][1] + 1 == sequence:
            ranges[-1][1] = sequence
        else:
            ranges.append([sequence, sequence])
    return ",".join(f"{first}-{last}" for first, last in ranges)


def _expanded(ranges: str) -> list[int]:
    found: list[int] = []
    for part in ranges.split(",") if ranges else []:
        first, _, last = part.partition("-")
        found += range(int(first), int(last) + 1)
    return found
