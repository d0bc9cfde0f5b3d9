"""Coffee from a real shop: a browser-like Box, a login on top of it, a shop on top of both, and a web app to talk to.

Run it with ``python examples/03_coffee_shop.py``. The web app is a small server on this machine's
loopback; the three Boxes may reach its port and nothing else, where the machine can wall a box in. Each Box is a
layer: when the shop is spawned, browser and login are cached.
"""

import json
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from socket import socket
from threading import Thread
from typing import ClassVar
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from box_agent import Box, skill
from schemas.box import Policy


class WebShop(BaseHTTPRequestHandler):
    """``POST /login`` gives a session cookie, ``POST /buy`` wants it."""

    sessions: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session = (self.headers["Cookie"] or "").removeprefix("session=")
        if self.path == "/login":
            session = token_hex(8)
            self.sessions[session] = asked["user"]
            self._answer({"welcome": asked["user"]}, cookie=f"session={session}")
        elif session in self.sessions:
            self._answer({"sold": asked["kind"], "to": self.sessions[session]})
        else:
            self.send_error(401)

    def _answer(self, body: dict[str, str], cookie: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


server = ThreadingHTTPServer(("127.0.0.1", 0), WebShop)
Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"
AT_THE_SHOP = Policy(network="loopback", ports=[server.server_port])  # each Box says what it may reach


class Browser(Box, policy=AT_THE_SHOP, files={"browser.json": '{"agent": "coffee/1.0"}'}):
    """Keeps cookies from one page to the next."""

    def setup(self) -> None:  # once, in the warm template
        self.agent = json.loads(Path("browser.json").read_text())["agent"]
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()), ProxyHandler({}))

    @skill
    def post(self, path: str, form: dict[str, str]) -> dict[str, str]:
        request = Request(URL + path, json.dumps(form).encode(), {"User-Agent": self.agent})
        with self.opener.open(request, timeout=10) as page:
            found: dict[str, str] = json.loads(page.read())
            return found

    @skill
    def reach(self, port: int) -> bool:
        """Whether something listens there."""
        with socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0


class Login(Box, policy=AT_THE_SHOP, commands=["echo ada > user.txt"]):
    """Needs a sibling with a skill `post`."""

    @skill
    def login(self) -> str:
        return str(self.post("/login", {"user": Path("user.txt").read_text().strip()})["welcome"])


class Shop(Box, policy=AT_THE_SHOP, files={"menu.txt": "latte\nmocha\n"}):
    """Needs siblings with skills `post` and `login`."""

    @skill
    def buy_coffee(self, kind: str) -> str:
        if kind not in Path("menu.txt").read_text().split():
            return f"no {kind} today"
        user = self.login()
        sold = self.post("/buy", {"kind": kind})
        return f"one {sold['sold']} for {user}"


browser, login, shop = Browser(), Login(), Shop()
visitor = browser + login
with visitor.spawn() as live:
    print(f"welcome, {live.login()}")

customer = visitor + shop
back_door = ThreadingHTTPServer(("127.0.0.1", 0), WebShop)  # on the same loopback, and granted to nobody
print("cached:", ", ".join(layer.part for layer in customer.explain().layers if layer.cached))
with customer.spawn() as live:
    print(live.buy_coffee("latte"))
    print(live.buy_coffee("tea"))
    print(f"isolation: {live.record.isolation}; reaches: {live.record.reaches}")
    print("the back door:", "open" if live.reach(back_door.server_port) else "closed")
print("cached:", ", ".join(layer.part or "all of it, warm" for layer in customer.explain().layers if layer.cached))
server.shutdown()
