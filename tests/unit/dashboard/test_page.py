"""What is served at ``/``: headers that keep the page safe and fresh, and a clear word when it was not built."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from hub.dashboard.routes import Page


@pytest.fixture
def static(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>boxhub</title>")
    (tmp_path / "assets" / "index-Ab12.js").write_text("0")
    return tmp_path


def browser(static: Path) -> httpx.AsyncClient:
    app = Starlette(routes=[Mount("/", Page(static))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub")


async def test_the_shell_is_asked_for_again_each_time_and_hashed_assets_never(static: Path) -> None:
    async with browser(static) as http:
        shell, asset, missing = [await http.get(path) for path in ("/", "/assets/index-Ab12.js", "/assets/gone.js")]
    assert (shell.status_code, shell.headers["cache-control"]) == (200, "no-cache")
    assert (asset.status_code, asset.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert missing.status_code == 404


async def test_the_policy_lets_only_our_own_code_run(static: Path) -> None:
    async with browser(static) as http:
        headers = (await http.get("/")).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


async def test_nothing_outside_the_built_page_is_served(static: Path) -> None:
    (static.parent / "secret.txt").write_text("secret")
    async with browser(static) as http:
        for path in ("/../secret.txt", "/..%2fsecret.txt", "/assets/..%2f..%2fsecret.txt"):
            answer = await http.get(path)
            assert answer.status_code == 404
            assert "secret" not in answer.text


async def test_a_page_that_was_not_built_says_what_to_run(tmp_path: Path) -> None:
    async with browser(tmp_path / "absent") as http:
        answer = await http.get("/")
    assert answer.status_code == 503
    assert "make setup" in answer.text
    assert answer.headers["cache-control"] == "no-store"
