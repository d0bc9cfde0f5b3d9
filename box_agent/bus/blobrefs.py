"""Payloads too large for the bus travel by reference: a blob at the hub, its hash in ``dataref``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from schemas import envelope as envelopes
from schemas.envelope import Envelope
from schemas.errors import BusUnavailable, PayloadTooLarge
from schemas.subjects import HUB


class BlobStore(Protocol):
    """Where large payloads are put; `box_agent.context.blobs.BlobClient` is one."""

    async def put(self, data: bytes) -> str: ...

    async def get(self, digest: str) -> bytes: ...


class BlobRefs:
    """Encodes envelopes for the bus and completes received ones."""

    def __init__(self, max_payload: Callable[[], int], blobs: Callable[[], BlobStore]) -> None:
        self._max_payload = max_payload
        self._blobs = blobs

    def encode_now(self, envelope: Envelope) -> bytes | None:
        """The envelope's bytes; ``None`` when they are too many, and `encode` has to put some into a blob."""
        body = envelopes.encode(envelope)
        return body if len(body) <= self._max_payload() else None

    async def encode(self, envelope: Envelope) -> bytes:
        """The envelope's bytes, its data put into a blob first when they are too many.

        Raises `PayloadTooLarge` when that is needed and no hub answers.
        """
        body = envelopes.encode(envelope)
        return body if len(body) <= self._max_payload() else await self._by_reference(envelope, len(body))

    async def _by_reference(self, envelope: Envelope, size: int) -> bytes:
        raw = {"data": envelope.data, "data_base64": envelope.data_base64}
        content = msgspec.json.encode({key: value for key, value in raw.items() if value is not None})
        try:
            digest = await self._blobs().put(content)
        except BusUnavailable as error:
            if error.details.get("box") != HUB:
                raise  # it is the bus that is away
            raise PayloadTooLarge(
                f"{size} bytes; the bus takes {self._max_payload()}, and no hub is there to keep larger ones: "
                "start `boxhub up`, or send less",
                size_bytes=size,
                limit_bytes=self._max_payload(),
            ) from error
        short = msgspec.structs.replace(envelope, data=None, data_base64=None, dataref=digest)
        return envelopes.encode(short)

    def resolve(self, envelope: Envelope) -> Awaitable[Envelope] | None:
        """``None`` when the envelope is complete; else await it for the one with its data fetched and verified."""
        return None if envelope.dataref is None else self._fetch(envelope)

    async def _fetch(self, envelope: Envelope) -> Envelope:
        assert envelope.dataref is not None
        content = await self._blobs().get(envelope.dataref)
        fields: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        return msgspec.structs.replace(
            envelope, data=fields.get("data"), data_base64=fields.get("data_base64"), dataref=None
        )
