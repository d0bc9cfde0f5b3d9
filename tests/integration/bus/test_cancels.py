"""A cancel that comes together with the server's answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.bus.agents import Agents


async def test_it_is_not_lost_where_the_server_is_waited_for(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was cancelled while its box got an address worked on, and was held to be cancelled."""
    agent = await agents("one")
    client = agent.connection._client
    answered = client._process_pong
    attaching: asyncio.Task[object] | None = None

    async def answered_and_cancelled() -> None:
        await answered()
        if attaching is not None:
            attaching.cancel()

    monkeypatch.setattr(client, "_process_pong", answered_and_cancelled)
    attaching = asyncio.create_task(agent.attach("two"))
    with pytest.raises(asyncio.CancelledError):
        await attaching
