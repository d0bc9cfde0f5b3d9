"""The API of a container engine over its unix socket: version 1.40, which Docker speaks since 19.03 and Podman since 3.

The clients of both for Python block, and bring a hundred verbs; this needs eight, with deadlines and cancellation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from schemas.errors import DriverUnavailable

_VERSION: Final = "v1.40"
_ANSWER_S: Final = 30.0


class EngineSilent(DriverUnavailable):
    """It is not there, or does not answer; what it was asked for may still come to be."""


class Engine:
    """Every verb raises `DriverUnavailable` with what the engine says, after `_ANSWER_S` also when it says nothing.

    ``wait`` is not among them: Podman's looks again after every nanosecond, which keeps a processor busy.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._owed: set[str] = set()
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        self._http = httpx.AsyncClient(
            transport=transport, base_url=f"http://engine/{_VERSION}", timeout=_ANSWER_S, trust_env=False
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def image(self, label: str) -> str:
        """Id of an image with this label (``name=value``), or empty."""
        found = await self._ask("GET", "/images/json", params={"filters": json.dumps({"label": [label]})})
        return str(found[0]["Id"]) if found else ""

    async def import_image(self, archive: bytes, label: str) -> str:
        """Id of the image made of a tar of its root."""
        params = {"fromSrc": "-", "repo": "localhost/boxhub", "changes": f"LABEL {label}"}
        await self._ask("POST", "/images/create", params=params, content=archive)
        return await self.image(label)

    async def create(self, name: str, content: Mapping[str, Any]) -> None:
        await self._ask("POST", "/containers/create", params={"name": name}, json=content)

    async def start(self, container: str) -> None:
        await self._ask("POST", f"/containers/{container}/start")

    async def exit_code(self, container: str) -> int | None:
        """``None`` while it runs."""
        state = (await self._ask("GET", f"/containers/{container}/json"))["State"]
        return None if state["Running"] else int(state["ExitCode"])

    async def output(self, container: str) -> str:
        """What it has printed, as far as it can be read."""
        params = {"stdout": "true", "stderr": "true", "tail": "40"}
        return _text(await self._send("GET", f"/containers/{container}/logs", params=params))

    async def remove(self, container: str) -> None:
        """With everything that runs in it; returns when it has ended. Harmless when there is none."""
        await self._ask("DELETE", f"/containers/{container}", params={"force": "true", "v": "true"}, missing=True)

    def owe_removal(self, container: str) -> None:
        """It could not be removed; `pay` does it."""
        self._owed.add(container)

    async def pay(self) -> None:
        """Remove what could not be removed when it should have been; what still cannot be stays owed."""
        for container in list(self._owed):
            try:
                await self.remove(container)
            except EngineSilent:
                return
            except DriverUnavailable:
                continue
            self._owed.discard(container)

    async def containers(self, label: str) -> list[str]:
        """Ids of all with this label, running or not."""
        params = {"all": "true", "filters": json.dumps({"label": [label]})}
        return [str(each["Id"]) for each in await self._ask("GET", "/containers/json", params=params)]

    async def _ask(self, method: str, path: str, *, missing: bool = False, **options: Any) -> Any:
        answer = await self._send(method, path, **options)
        if answer.status_code >= 400 and not (missing and answer.status_code == 404):
            raise DriverUnavailable(f"the container engine refuses {method} {path.split('/')[1]}: {_said(answer)}")
        if not answer.content:
            return {}
        return json.loads(answer.text.splitlines()[-1] if path == "/images/create" else answer.text)

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise EngineSilent(f"the container engine at {self._socket} does not answer") from error
        except httpx.TransportError as error:
            raise EngineSilent(f"no container engine answers at {self._socket}: {error}") from error


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _text(answer: httpx.Response) -> str:
    """Without the headers of eight bytes that say which stream each piece is of."""
    data, text = answer.content, b""
    while len(data) >= 8 and data[0] in (0, 1, 2) and data[1:4] == b"\0\0\0":
        size = int.from_bytes(data[4:8], "big")
        text, data = text + data[8 : 8 + size], data[8 + size :]
    return (text or data).decode(errors="replace").strip()
