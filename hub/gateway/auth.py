"""Who may come in: a bearer token for programs, a session cookie for browsers.

Pure ASGI, because middleware made with ``@app.middleware("http")`` does not see WebSockets. Three checks:

- **Host** must be one we serve under, so that a page elsewhere cannot reach us by DNS rebinding.
- **Credential**: ``Authorization: Bearer <token>``, or the cookie that opening ``/?token=<token>`` once sets
  (as Jupyter does). The cookie is derived from the token and does not reveal it.
- **Origin**: a request that rides on the cookie and can change something (any WebSocket, any unsafe method)
  must come from our own pages.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_CARD = "/.well-known/agent-card.json"
_SESSION_S = 30 * 24 * 3600


class Gatekeeper:
    """ASGI middleware that lets nothing through without a credential.

    Open to everybody are the probes (they say "ok" or not) and agent cards, which A2A clients read before they
    know how to authenticate. ``scope["state"]["principal"]`` says who came in.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: frozenset[str], port: int) -> None:
        self.app = app
        self._token = token.encode()
        self._session = hmac.new(self._token, b"boxhub-session-v1", hashlib.sha256).hexdigest()
        self._hosts = hosts
        self.cookie = f"boxhub-{port}"  # cookies ignore ports: two hubs on one machine need two names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refuse(scope, receive, send, *refusal)
            return
        if scope["type"] == "http" and (moved := self._first_visit(scope)) is not None:
            await moved(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = "operator"
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if _split(f"//{host}").hostname not in self._hosts:
            return 421, "wrong_host", f"this hub does not serve {host!r}; see the setting BOXHUB_GATEWAY_HOSTS"
        path = scope["path"]
        if path in _OPEN_PATHS or path.endswith(_CARD):
            return None
        authorization = headers.get("authorization", "")
        if authorization:
            scheme, _, given = authorization.partition(" ")
            if scheme.lower() == "bearer" and self._is_token(given.strip()):
                return None
            return 401, "unauthenticated", "wrong bearer token"
        if self._token_in_query(scope) is not None:
            if self._is_token(self._token_in_query(scope) or ""):
                return None
            return 401, "unauthenticated", "wrong token in the URL"
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        if not hmac.compare_digest(cookie.encode(), self._session.encode()):
            return (
                401,
                "unauthenticated",
                "send the token as a bearer, or open the URL that 'boxhub status' prints",
            )
        if scope["type"] == "websocket" or scope["method"] not in _SAFE:
            origin = headers.get("origin", "")
            if _split(origin).netloc != host:
                return 403, "permission_denied", f"origin {origin!r} may not act in this session"
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)

    @staticmethod
    def _token_in_query(scope: Scope) -> str | None:
        if scope["path"] != "/" or scope["type"] != "http" or scope["method"] != "GET":
            return None
        values = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return values[0] if values else None

    def _first_visit(self, scope: Scope) -> RedirectResponse | None:
        """Trades the token in the URL for a cookie, so that it stays out of history and referrers."""
        if self._token_in_query(scope) is None:
            return None
        rest = parse_qs(scope["query_string"].decode("latin-1"))
        rest.pop("token")
        response = RedirectResponse("/" + (f"?{urlencode(rest, doseq=True)}" if rest else ""), status_code=303)
        response.set_cookie(self.cookie, self._session, max_age=_SESSION_S, httponly=True, samesite="strict", path="/")
        return response


def _split(url: str) -> SplitResult:
    """The parts of ``url``; none for one that cannot be split, such as ``[::1`` (which then fits nothing)."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    """Says no on either protocol; a WebSocket is closed before it is accepted."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000 + status, "reason": message[:120]})
        return
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    body = {"error": {"code": code, "message": message, "retryable": False, "details": {}}}
    await JSONResponse(body, status, headers)(scope, receive, send)
