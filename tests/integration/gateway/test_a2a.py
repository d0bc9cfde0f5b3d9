"""A2A 1.0 with the official client, over both bindings."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from a2a.client import Client, ClientConfig, create_client
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidParamsError, TaskNotCancelableError, TaskNotFoundError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from hub.app import Hub
from hub.config import HubSettings


@pytest.fixture(params=["JSONRPC", "HTTP+JSON"])
async def client(request, http: httpx.AsyncClient, hub: Hub, shop) -> AsyncIterator[Client]:
    config = ClientConfig(streaming=True, httpx_client=http, supported_protocol_bindings=[request.param])
    client = await create_client(f"{hub.gateway_url}/a2a/shop", client_config=config)
    yield client
    await client.close()


def _message(
    text: str = "", *, skill: str, data: dict[str, object] | None = None, id: str = ""
) -> pb.SendMessageRequest:
    parts = [pb.Part(text=text)] if text else []
    if data is not None:
        parts.append(pb.Part(data=ParseDict(data, Value())))
    message = pb.Message(message_id=id or str(uuid.uuid4()), role=pb.Role.ROLE_USER, parts=parts)
    message.metadata.update({"skill": skill})
    return pb.SendMessageRequest(message=message)


async def _all(stream: AsyncIterator[pb.StreamResponse]) -> list[pb.StreamResponse]:
    return [event async for event in stream]


async def test_the_card_says_what_the_box_can_do(http, shop):
    answer = await http.get("/a2a/shop/.well-known/agent-card.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert {s["id"] for s in answer.json()["skills"]} == {"buy", "brew"}
    assert (await http.get("/a2a/nobody/.well-known/agent-card.json")).status_code == 404
    listed = (await http.get("/a2a/")).json()["agents"]
    assert "shop" in [a["name"] for a in listed]


async def test_a_message_becomes_a_task_with_its_result(client):
    events = await _all(client.send_message(_message("latte", skill="buy", data={"cups": 2})))
    assert events[0].task.status.state in (pb.TASK_STATE_SUBMITTED, pb.TASK_STATE_WORKING)
    artifacts = [e.artifact_update.artifact for e in events if e.HasField("artifact_update")]
    assert MessageToDict(artifacts[0].parts[0].data) == {"kind": "latte", "cups": 2.0}
    assert events[-1].status_update.status.state == pb.TASK_STATE_COMPLETED
    task = await client.get_task(pb.GetTaskRequest(id=events[0].task.id))
    assert task.status.state == pb.TASK_STATE_COMPLETED
    assert task.history[0].parts[0].text == "latte"


async def test_the_same_message_twice_is_one_task(client):
    request = _message("latte", skill="buy", id=str(uuid.uuid4()))
    first, second = await _all(client.send_message(request)), await _all(client.send_message(request))
    assert first[0].task.id == second[0].task.id


async def test_a_failing_skill_fails_the_task_and_says_why(client):
    events = await _all(client.send_message(_message("tea", skill="buy")))
    task = await client.get_task(pb.GetTaskRequest(id=events[0].task.id))
    assert task.status.state == pb.TASK_STATE_FAILED
    assert "no tea here" in task.status.message.parts[0].text


async def test_a_running_task_is_followed_resumed_and_cancelled(client):
    stream = client.send_message(_message(skill="brew", data={}))
    first = await anext(stream)
    task_id = first.task.id
    while "brewing" not in str(await anext(stream)):
        pass
    await stream.aclose()  # the connection goes, the task stays
    later = client.subscribe(pb.SubscribeToTaskRequest(id=task_id))
    assert (await anext(later)).task.status.state == pb.TASK_STATE_WORKING
    cancelled = await client.cancel_task(pb.CancelTaskRequest(id=task_id))
    assert cancelled.status.state == pb.TASK_STATE_CANCELED
    assert (await _all(later))[-1].status_update.status.state == pb.TASK_STATE_CANCELED
    with pytest.raises(TaskNotCancelableError):
        await client.cancel_task(pb.CancelTaskRequest(id=task_id))


async def test_what_cannot_be_done_is_a_typed_error(client):
    with pytest.raises(TaskNotFoundError):
        await client.get_task(pb.GetTaskRequest(id="none"))
    with pytest.raises(InvalidParamsError, match="buy"):
        await _all(client.send_message(_message("x", skill="sell")))


async def test_tasks_are_listed_page_by_page(client):
    for kind in ("a", "b", "c"):
        await _all(client.send_message(_message(kind, skill="buy")))
    page = await client.list_tasks(pb.ListTasksRequest(page_size=2))
    rest = await client.list_tasks(pb.ListTasksRequest(page_size=2, page_token=page.next_page_token))
    assert (len(page.tasks), len(rest.tasks), page.total_size) == (2, 1, 3)


@pytest.mark.usefixtures("shop")
async def test_a_task_is_there_after_the_gateway_was_restarted(hub: Hub, http, settings: HubSettings):
    spec = {"id": "a2a-before", "box": "shop", "skill": "buy", "arguments": {"kind": "latte"}}
    await http.post("/api/v1/tasks", json=spec)
    await hub.__aexit__(None, None, None)
    async with Hub(settings) as again, httpx.AsyncClient(headers=http.headers, trust_env=False) as own:
        async with asyncio.timeout(20):
            while not any(b.id == "shop" for b in await again.services(settings.tenant).registry.boxes()):  # noqa: ASYNC110 - asked as a client would
                await asyncio.sleep(0)
        client = await create_client(f"{again.gateway_url}/a2a/shop", client_config=ClientConfig(httpx_client=own))
        task = await client.get_task(pb.GetTaskRequest(id="a2a-before"))
        assert task.status.state == pb.TASK_STATE_COMPLETED
        await client.close()
