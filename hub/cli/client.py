"""REST client of a running hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

import httpx

from schemas.errors import BoxhubError, ErrorInfo, Unavailable, error_from_info


class HubClient:
    """Speaks to the gateway of one hub. Use as a context manager.

    Every method raises the `BoxhubError` the hub answered with, or `Unavailable` when nobody answers.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 60.0) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=False,  # a proxy meant for the internet must not see loopback
        )
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any = None) -> Any:
        return self._send("POST", path, json=body)

    def follow(self, path: str, **query: Any) -> Iterator[tuple[str, Any]]:
        """(id, data) of each server-sent event until the server ends the stream."""
        params = {k: v for k, v in query.items() if v is not None}
        timeout = httpx.Timeout(None, connect=5.0)
        try:
            with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                    raise _error(response)
                yield from _events(response.iter_lines())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _error(response)
        return response.json()

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(f"no answer from the hub at {self.url} ({error}); look at 'boxhub status'")


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    event_id, data = "", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        if field == "id":
            event_id = value.strip()
        elif field == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield event_id, json.loads("\n".join(data))
            data.clear()


def _error(response: httpx.Response) -> BoxhubError:
    try:
        return error_from_info(ErrorInfo.model_validate(response.json()["error"]))
    except (ValueError, KeyError, TypeError):
        return BoxhubError(f"the hub answered {response.status_code}: {response.text[:200]}")
