"""The page in a real browser: what it shows, what its buttons do, and that it stays quick when a lot happens."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from nats.aio.client import Client
from playwright.async_api import Page, expect

from schemas import envelope, subjects
from tests.e2e.dashboard.conftest import Serve
from tests.e2e.dashboard.town import Town

pytestmark = pytest.mark.nats_versions("oldest")


async def visit(page: Page, url: str, address: str = "") -> None:
    """Open a view and wait until the feed has told what is there."""
    await page.goto(f"{url}/#/{address}")
    await expect(page.locator(".app[data-status=live]")).to_be_visible()


async def event(bus: Client, name: str, **attributes: str) -> None:
    made = envelope.make(envelope.EVENT, "/default/planner", {"name": name}, **attributes)
    await bus.publish(subjects.event("default", "planner", name), envelope.encode(made))


async def test_every_view_opens_by_its_key_in_both_themes_and_sizes(page: Page, serve: Serve, town: Town) -> None:
    titles = ["Overview", "Boxes", "Tasks", "Traffic", "Branches", "Conversations", "Dead letters"]
    await visit(page, await serve(town))
    for size in ({"width": 1440, "height": 900}, {"width": 390, "height": 844}):
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        for key, title in enumerate(titles, 1):
            await page.keyboard.press(str(key))
            await expect(page.get_by_role("heading", level=1)).to_have_text(title)
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{title} is wider than a screen of {size}"
        before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.keyboard.press("t")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != before


async def test_overview_counts_what_is_there(page: Page, serve: Serve, town: Town) -> None:
    await visit(page, await serve(town))
    ready = sum(box.state == "ready" and box.kind != "system" for box in town.box_records.values())
    figures = page.get_by_label("Key figures")
    await expect(figures.get_by_role("link", name="Boxes ready")).to_contain_text(str(ready))
    await expect(figures.get_by_role("link", name="Dead letters")).to_contain_text(str(len(town.dead)))
    for node in town.node_records:
        await expect(page.get_by_text(node, exact=True)).to_be_visible()


async def test_boxes_filter_sort_and_link(page: Page, serve: Serve, town: Town) -> None:
    await visit(page, await serve(town), "boxes")
    await page.keyboard.press("/")
    await page.keyboard.type("coder")
    rows = page.get_by_role("table", name="Boxes").locator(".row")
    await expect(rows).to_have_count(3)
    await rows.filter(has_text="coder-2").click()
    await expect(page.get_by_role("complementary")).to_contain_text("boxhub call coder-2 propose")
    await page.reload()  # the address holds it all
    await expect(rows).to_have_count(3)
    await expect(page.get_by_role("complementary")).to_contain_text("coder-2")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("complementary")).to_have_count(0)
    town.box_records["coder-2"].state = "failed"
    await expect(rows.filter(has_text="coder-2")).to_contain_text("failed")


async def test_a_box_shows_how_it_is_isolated_and_what_it_reaches(page: Page, serve: Serve, town: Town) -> None:
    browser = next(box for box in town.box_records.values() if box.box == "browser")
    planner = next(box for box in town.box_records.values() if box.kind == "attached")
    await visit(page, await serve(town), "boxes?q=127.0.0.1:8080")
    row = page.get_by_role("table", name="Boxes").locator(".row").filter(has_text=browser.id)
    await expect(row.get_by_title(browser.reaches)).to_have_text("namespace")
    await row.click()
    detail = page.get_by_role("complementary")
    await expect(detail.locator("dt", has_text="Isolation").locator("+ dd")).to_have_text("namespace")
    await expect(detail.locator("dt", has_text="Reaches").locator("+ dd")).to_have_text(browser.reaches)
    await visit(page, page.url.partition("/#")[0], f"boxes/{planner.id}")
    await expect(detail.locator("dt", has_text="Isolation").locator("+ dd")).to_have_text("none")
    await visit(page, page.url.partition("/#")[0])
    await expect(page.get_by_text("local (namespace)").first).to_be_visible()


async def test_a_task_shows_its_attempts_and_is_cancelled(page: Page, serve: Serve, town: Town) -> None:
    task = next(task for task in town.task_records.values() if task.state == "working")
    await visit(page, await serve(town), f"tasks/{task.id}")
    detail = page.get_by_role("complementary")
    await expect(detail).to_contain_text("collecting tests")
    await expect(detail.get_by_role("heading", name="Attempts")).to_contain_text(str(len(task.attempts)))
    assert await page.locator("svg.bars rect").count() > 10
    await detail.get_by_role("button", name="Cancel").click()
    assert town.task_records[task.id].cancel is None, "it asks first"
    await detail.get_by_role("button", name="Cancel task").click()
    await expect(detail.get_by_title("canceled").first).to_be_visible()
    assert town.task_records[task.id].state == "canceled"
    await expect(detail.get_by_role("button", name="Cancel")).to_have_count(0)


async def test_a_waiting_task_says_why(page: Page, serve: Serve, town: Town) -> None:
    task = next(task for task in town.task_records.values() if task.state == "submitted")
    await visit(page, await serve(town), f"tasks/{task.id}")
    await expect(page.get_by_role("complementary")).to_contain_text(task.pending)


async def test_traffic_is_live_filtered_paused_and_explained(page: Page, serve: Serve, town: Town, bus: Client) -> None:
    await visit(page, await serve(town), "traffic")
    await event(bus, "coffee.ordered", id="e-first")
    rows = page.get_by_role("table", name="Traffic").locator(".row")
    await expect(rows).to_have_count(1)
    await event(bus, "coffee.ready", id="e-second", causationid="e-first")
    await expect(rows.first).to_contain_text("coffee.ready")
    await rows.first.click()
    chain = page.get_by_role("complementary").locator(".chain .step")
    await expect(chain).to_have_text([re.compile("coffee.ordered"), re.compile("coffee.ready")])
    await page.keyboard.press("Escape")

    await page.keyboard.press(" ")
    await event(bus, "coffee.cold")
    newer = page.get_by_role("button", name="1 newer")
    await expect(newer).to_be_visible()
    await expect(rows).to_have_count(2)
    await newer.click()
    await expect(rows.first).to_contain_text("coffee.cold")

    await page.get_by_role("button", name="calls").click()
    await expect(page.get_by_text("Nothing that fits the filter has passed")).to_be_visible()


async def test_a_branch_shows_its_diff_and_is_discarded(page: Page, serve: Serve, town: Town) -> None:
    branch = next(b for b in town.branch_records.values() if b.state == "open" and b.parent == town.root.id)
    await visit(page, await serve(town), "branches")
    drawn = page.locator("g[data-branch]")
    await expect(drawn).to_have_count(len(town.branch_records) - 1)
    await page.locator(f"g[data-branch={branch.id}] .tip").click(force=True)
    detail = page.get_by_role("complementary")
    await expect(detail.locator(".code .removed").first).to_contain_text("return b.start < a.end")
    await expect(detail.locator(".code .added").first).to_contain_text("return b.start <= a.end")
    await detail.get_by_role("button", name="Discard", exact=True).click()
    await detail.get_by_role("button", name="Discard branch").click()
    await expect(page.locator(f"g[data-branch={branch.id}]")).to_have_class(re.compile("discarded"))
    assert branch.state == "discarded"


async def test_conversations_show_their_turns(page: Page, serve: Serve, town: Town) -> None:
    conversation = next(iter(town.conversation_records.values()))
    await visit(page, await serve(town), f"conversations/{conversation.id}")
    await expect(page.locator("article li")).to_have_count(conversation.turns)
    await expect(page.locator("article")).to_contain_text("Minimal, and the docstring agrees.")


async def test_a_dead_letter_is_sent_again(page: Page, serve: Serve, town: Town) -> None:
    await visit(page, await serve(town), "deadletters")
    rows = page.get_by_role("table", name="Dead letters").locator(".row")
    await expect(rows).to_have_count(3)
    await rows.first.click()
    await expect(page.get_by_role("complementary")).to_contain_text("KeyError")
    await page.get_by_role("button", name="Redrive").click()
    await page.get_by_role("button", name="Send it again").click()
    await expect(rows).to_have_count(2)
    assert len(town.dead) == 2


async def test_empty_views_say_what_to_do(page: Page, serve: Serve, town: Town) -> None:
    await visit(page, await serve(Town(town.nats_url, boxes_wanted=0)))
    for view, words in {
        "overview": "Nothing runs here yet",
        "boxes": "No boxes yet",
        "tasks": "No tasks yet",
        "traffic": "The bus is quiet",
        "branches": "No workspaces yet",
        "conversations": "No conversations yet",
        "deadletters": "No dead letters",
    }.items():
        await page.locator(f'nav li a[href="#/{view}"]').click()
        await expect(page.get_by_role("heading", name=words)).to_be_visible()


async def test_a_hub_that_restarts_is_said_and_found_again(page: Page, serve: Serve, town: Town) -> None:
    first = await serve(town)
    await visit(page, first)
    await serve.stop(first)
    await expect(page.get_by_role("status")).to_contain_text("No connection to the hub")
    await serve(town, port=urlsplit(first).port)
    await expect(page.locator(".app[data-status=live]")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_count(0)


async def test_the_token_opens_a_session(page: Page, serve: Serve, town: Town) -> None:
    url = await serve(town, token="secret")
    await page.goto(f"{url}/?token=secret")
    await expect(page.locator(".app[data-status=live]")).to_be_visible()
    assert "secret" not in page.url


@pytest.mark.slow
async def test_a_thousand_boxes_and_messages_a_second_stay_responsive(page: Page, serve: Serve, town: Town) -> None:
    crowd = Town(town.nats_url, boxes_wanted=1000)
    crowd.settle(past_s=60)
    await visit(page, await serve(crowd, limits=None, live=True, rate=1000), "traffic")
    rows = page.locator(".row")
    await expect(rows.nth(20)).to_be_visible()
    for view in ("boxes", "tasks", "branches", "overview", "traffic") * 3:
        waited_ms = await page.evaluate(
            """(view) => new Promise((done) => {
                const began = performance.now()
                document.querySelector(`nav li a[href="#/${view}"]`).click()
                requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)))
            })""",
            view,
        )
        assert waited_ms < 2000, f"{view} took {waited_ms:.0f} ms to answer a click"
        assert await rows.count() < 100, "only rows in sight may exist"
