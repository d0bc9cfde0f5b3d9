"""The gatekeeper: every way in without a credential is closed."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.gateway.auth import Gatekeeper

TOKEN = "s3cret-token"
BASE = "http://127.0.0.1:8700"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def _hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("in")


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("in")
    await socket.close()


@pytest.fixture
def client() -> TestClient:
    routes = [
        *(
            Route(path, _hello, methods=["GET", "POST"])
            for path in ("/", "/data", "/healthz", "/a2a/x/.well-known/agent-card.json")
        ),
        WebSocketRoute("/feed", _socket),
    ]
    app = Starlette(routes=routes)
    guarded = Gatekeeper(app, token=TOKEN, hosts=frozenset({"127.0.0.1", "localhost"}), port=8700)
    return TestClient(guarded, base_url=BASE, follow_redirects=False)


def test_a_bearer_token_comes_in(client):
    assert client.get("/data", headers=BEARER).text == "in"
    assert client.post("/data", headers=BEARER).text == "in"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Cookie": "boxhub-8700=wrong"},
        {"Cookie": f"boxhub-8700={TOKEN}"},
    ],
)
def test_anything_else_is_401(client, headers):
    answer = client.get("/data", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_probes_and_cards_are_open(client):
    assert client.get("/healthz").text == "in"
    assert client.get("/a2a/x/.well-known/agent-card.json").text == "in"


def test_a_host_we_do_not_serve_is_refused_even_with_the_token(client):
    assert client.get("/data", headers={**BEARER, "Host": "evil.example"}).status_code == 421
    assert client.get("/healthz", headers={"Host": "127.0.0.1.evil.example"}).status_code == 421
    assert client.get("/healthz", headers={"Host": "[::1"}).status_code == 421


def _session(client: TestClient):
    answer = client.get(f"/?token={TOKEN}&view=tasks")
    assert answer.status_code == 303
    return answer


def test_the_first_visit_trades_the_token_for_a_cookie(client):
    answer = _session(client)
    assert answer.headers["location"] == "/?view=tasks"
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/data").text == "in"


def test_a_wrong_token_in_the_url_is_401(client):
    assert client.get("/?token=nope").status_code == 401


@pytest.mark.parametrize("origin", [None, "http://evil.example", "http://127.0.0.1:9999", "null"])
def test_a_session_may_not_be_ridden_by_other_pages(client, origin):
    cookie = _session(client).headers["set-cookie"].partition(";")[0]
    headers = {"Origin": origin} if origin else {}
    assert client.post("/data", headers=headers).status_code == 403
    socket_headers = {**headers, "Host": "127.0.0.1:8700", "Cookie": cookie}
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/feed", headers=socket_headers):
        pass
    assert refused.value.code == 4403


def test_our_own_page_may_act(client):
    cookie = _session(client).headers["set-cookie"].partition(";")[0]
    assert client.post("/data", headers={"Origin": BASE}).text == "in"
    headers = {"Origin": BASE, "Host": "127.0.0.1:8700", "Cookie": cookie}
    with client.websocket_connect("/feed", headers=headers) as socket:
        assert socket.receive_text() == "in"


def test_a_websocket_without_credential_is_closed(client):
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/feed", headers={"Host": "127.0.0.1:8700"}),
    ):
        pass
    assert refused.value.code == 4401
