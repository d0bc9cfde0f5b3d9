"""REST over a real hub: every noun, the statuses of every kind of error, streams that resume."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

API = "/api/v1"


async def _events(response: httpx.Response, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if line:
            event[field] = json.loads(value) if field == "data" else value
        elif "data" in event:
            found.append(event)
            event = {}
            if len(found) == count:
                break
    return found


async def test_conversation_and_key_values_of_a_branch(http):
    talk = (await http.post(f"{API}/conversations", json={"title": "menu"})).json()["id"]
    root = (await http.post(f"{API}/workspaces", json={"name": "menu", "conversation": talk})).json()["root"]
    one, two = (await http.post(f"{API}/branches/{root}/fork", json={"names": ["a", "b"]})).json()
    for branch in (one, two):
        turns = {"turns": [{"parts": [{"text": branch["name"]}]}]}
        said = await http.post(f"{API}/conversations/@{branch['id']}/turns", json=turns)
        assert (said.status_code, said.json()["turns"]) == (201, 1)
        on = {"branch": branch["id"]}
        put = await http.put(f"{API}/keyvalues/dish", json={"value": branch["name"]}, params=on)
        assert put.json()["revision"] == 1
        assert (
            await http.put(f"{API}/keyvalues/dish", json={"value": 0, "expected_revision": 0}, params=on)
        ).status_code == 409
        assert [e["value"] for e in (await http.get(f"{API}/keyvalues", params=on)).json()] == [branch["name"]]
    assert (await http.get(f"{API}/keyvalues/dish")).status_code == 404
    assert (await http.get(f"{API}/conversations/{talk}/turns")).json() == []
    (change,) = (await http.get(f"{API}/branches/{one['id']}/keyvalues")).json()
    assert (change["key"], change["base"], change["ours"]["value"]) == ("dish", None, "a")
    done = (await http.post(f"{API}/branches/{one['id']}/commit")).json()
    assert (done["keys"], done["turns"]) == (["dish"], 1)
    plan = (await http.post(f"{API}/branches/{two['id']}/plan")).json()
    (conflict,) = plan["conflicts"]
    assert (conflict["path"], conflict["kind"]) == ("/keys/dish", "key_value")
    assert (await http.post(f"{API}/branches/{two['id']}/commit")).status_code == 409
    asked = {name: plan[name] for name in ("ours", "theirs", "our_keys", "their_keys")}
    asked["resolutions"] = {"/keys/dish": {"/keys/dish": conflict["ours"]}}
    assert (await http.post(f"{API}/branches/{two['id']}/commit", json=asked)).json()["keys"] == ["dish"]
    assert (await http.get(f"{API}/keyvalues/dish", params={"branch": root})).json()["value"] == "b"
    assert (await http.delete(f"{API}/keyvalues/dish", params={"branch": root})).json() == {"deleted": True}
    texts = [turn["parts"][0]["text"] for turn in (await http.get(f"{API}/conversations/{talk}/turns")).json()]
    assert [texts[0], texts[2]] == ["a", "b"]


@pytest.mark.usefixtures("shop")
async def test_a_task_from_submission_to_its_stream(http):
    spec = {"id": "order-1", "box": "shop", "skill": "buy", "arguments": {"kind": "latte"}}
    assert (await http.post(f"{API}/tasks", json=spec)).status_code == 202
    async with http.stream("GET", f"{API}/tasks/order-1/stream") as response:
        seen = await _events(response, 3)
    assert [e["id"] for e in seen] == ["1", "2", "3"]
    assert [e["data"]["state"] for e in seen] == ["submitted", "working", "completed"]
    record = (await http.get(f"{API}/tasks/order-1")).json()
    assert record["result"] == {"kind": "latte", "cups": 1}
    async with http.stream("GET", f"{API}/tasks/order-1/stream", headers={"Last-Event-ID": "2"}) as response:
        assert [e["id"] for e in await _events(response, 1)] == ["3"]
    again = await http.post(f"{API}/tasks", json=spec)
    assert again.json()["id"] == "order-1"
    other = await http.post(f"{API}/tasks", json={**spec, "arguments": {"kind": "mocha"}})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert [t["id"] for t in (await http.get(f"{API}/tasks", params={"state": "completed"})).json()] == ["order-1"]


@pytest.mark.usefixtures("shop")
async def test_cancel_ends_the_running_skill(http):
    await http.post(f"{API}/tasks", json={"id": "brew-1", "box": "shop", "skill": "brew"})
    async with http.stream("GET", f"{API}/tasks/brew-1/stream") as response:
        assert (await _events(response, 3))[-1]["data"]["kind"] == "progress"
    assert (await http.post(f"{API}/tasks/brew-1/cancel", json={"reason": "closing"})).status_code == 202
    async with http.stream("GET", f"{API}/tasks/brew-1/stream", params={"after": 3}) as response:
        assert (await _events(response, 99))[-1]["data"]["state"] == "canceled"
    cancel = (await http.get(f"{API}/tasks/brew-1")).json()["cancel"]
    assert cancel["requested_at"] <= cancel["acknowledged_at"] <= cancel["stopped_at"]


@pytest.mark.usefixtures("shop")
async def test_calls_answer_or_say_what_is_wrong(http):
    call = f"{API}/boxes/shop/skills"
    assert (await http.post(f"{call}/buy", json={"arguments": {"kind": "x", "cups": 2}})).json()["result"]["cups"] == 2
    for path, body, status, code in [
        (f"{call}/buy", {"arguments": {"cups": "many"}}, 422, "invalid_arguments"),
        (f"{call}/buy", {"arguments": {"kind": "tea"}}, 502, "skill_failed"),
        (f"{call}/sell", {}, 404, "skill_not_found"),
        (f"{call}/brew", {"timeout_s": 0.2}, 504, "deadline_exceeded"),
        (f"{call}/buy", {"timeout_s": -1}, 422, "invalid_input"),
    ]:
        answer = await http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_call_nobody_answers_fails_at_once(http):
    """Also while the dashboard listens to the bus: its tap must not count as somebody who answers."""
    started = time.monotonic()
    answer = await http.post(f"{API}/boxes/nobody/skills/x", json={"timeout_s": 30})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "box_not_found")
    assert time.monotonic() - started < 5


async def test_events_are_published_followed_and_replayed(http):
    for n in range(3):
        assert (await http.post(f"{API}/events", json={"name": "coffee.sold", "data": n})).status_code == 201
    async with http.stream("GET", f"{API}/events", params={"pattern": "coffee.*", "from_sequence": 1}) as response:
        seen = await _events(response, 3)
    assert [e["data"]["data"] for e in seen] == [0, 1, 2]
    resume = {"Last-Event-ID": seen[1]["id"]}
    async with http.stream("GET", f"{API}/events", params={"pattern": "coffee.*"}, headers=resume) as response:
        assert [e["data"]["data"] for e in await _events(response, 1)] == [2]
    assert (await http.post(f"{API}/events", json={"name": "bad name"})).status_code == 422
    assert (await http.get(f"{API}/events", params={"pattern": "a..b"})).status_code == 422


async def test_a_workspace_is_forked_compared_and_committed(http):
    root = (await http.post(f"{API}/workspaces", json={"name": "site"})).json()["root"]
    fork = {"names": ["a", "b"], "files": {"index.html": "<h1>hi</h1>\n"}}
    one, two = (await http.post(f"{API}/branches/{root}/fork", json=fork)).json()
    diff = (await http.get(f"{API}/branches/{one['id']}/diff", params={"content": True})).json()
    assert [(c["path"], c["kind"]) for c in diff] == [("index.html", "added")]
    assert "+<h1>hi</h1>" in diff[0]["text"]
    plan = (await http.post(f"{API}/branches/{one['id']}/plan")).json()
    assert (plan["tree"], plan["fast_forward"], plan["conflicts"]) == (one["head"], True, [])
    heads = {"ours": plan["ours"], "theirs": "0" * 64}
    assert (await http.post(f"{API}/branches/{one['id']}/commit", json=heads)).status_code == 409
    heads["theirs"] = plan["theirs"]
    commit = (await http.post(f"{API}/branches/{one['id']}/commit", json=heads)).json()
    assert commit["fast_forward"]
    discarded = (await http.post(f"{API}/branches/{two['id']}/discard", json={"state": "superseded"})).json()
    assert discarded["state"] == "superseded"
    late = await http.post(f"{API}/branches/{two['id']}/commit")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "terminal_state")
    assert {b["state"] for b in (await http.get(f"{API}/branches")).json()} == {"open", "committed", "superseded"}


async def test_conversations_and_key_values(http):
    talk = (await http.post(f"{API}/conversations", json={"title": "t"})).json()["id"]
    turns = [{"role": "user", "parts": [{"text": "hello"}]}, {"role": "assistant", "parts": [{"text": "hi"}]}]
    assert (await http.post(f"{API}/conversations/{talk}/turns", json={"turns": turns})).json()["turns"] == 2
    found = (await http.get(f"{API}/conversations/{talk}/turns")).json()
    assert [t["parts"][0]["text"] for t in found] == ["hello", "hi"]
    prompt = (await http.get(f"{API}/conversations/{talk}/prompt")).json()
    assert [m["role"] for m in prompt["messages"]] == ["user", "assistant"]
    assert (await http.put(f"{API}/keyvalues/a/b", json={"value": 1, "expected_revision": 0})).json()["revision"] == 1
    lost = await http.put(f"{API}/keyvalues/a/b", json={"value": 2, "expected_revision": 0})
    assert (lost.status_code, lost.json()["error"]["code"]) == (409, "revision_conflict")
    assert (await http.get(f"{API}/keyvalues/a/b")).json()["value"] == 1
    assert (await http.get(f"{API}/keyvalues/none")).status_code == 404


async def test_messages_wait_for_a_box_that_is_away(http, shared_nats_server, tenant):
    sent = (await http.post(f"{API}/boxes/later/messages", json={"data": "hello"})).json()["id"]
    from box_agent.agent import Agent
    from box_agent.config import AgentSettings

    settings = AgentSettings(nats_url=shared_nats_server.url, tenant=tenant)
    async with await Agent.open("later", url=shared_nats_server.url, tenant=tenant, settings=settings) as agent:
        async with asyncio.timeout(20):
            async for message in agent.inbox():
                assert (message.id, message.data) == (sent, "hello")
                break


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/tasks/none", None, 404),
        ("GET", "/tasks/none/stream", None, 404),
        ("GET", "/boxes/none", None, 404),
        ("GET", "/branches/none", None, 404),
        ("GET", "/conversations/none", None, 404),
        ("GET", "/tasks/BAD%20ID", None, 422),
        ("POST", "/tasks", {"box": "x"}, 422),
        ("POST", "/tasks", {"box": "x" * 500, "skill": "y"}, 422),
        ("POST", "/deadletters/99/redrive", None, 404),
    ],
)
async def test_every_refusal_has_the_same_shape(http, method, path, body, status):
    answer = await http.request(method, f"{API}{path}", json=body)
    assert answer.status_code == status
    assert {"code", "message", "retryable", "details"} <= answer.json()["error"].keys()


async def test_a_body_over_the_limit_is_413(http, hub):
    answer = await http.post(f"{API}/events", content=b"x" * (hub.settings.limits.body_bytes + 1))
    assert answer.status_code == 413


async def test_probes_metrics_and_schema(http, hub, tenant):
    open_client = httpx.AsyncClient(base_url=hub.gateway_url, trust_env=False)
    async with open_client:
        assert (await open_client.get("/healthz")).json() == {"status": "ok"}
        assert (await open_client.get("/readyz")).json() == {"status": "ready", "failed": {}}
        assert (await open_client.get("/metrics")).status_code == 401
    metrics = (await http.get("/metrics")).text
    assert f'boxhub_boxes{{kind="system",state="ready",tenant="{tenant}"}}' in metrics
    document = (await http.get(f"{API}/openapi.json")).json()
    assert {"/api/v1/tasks", "/api/v1/branches/{branch}/commit"} <= document["paths"].keys()
    assert (await http.get(f"{API}/tenants")).json() == [tenant]
