"""The console in a real browser: everybody can use it, in both languages, and nothing on it breaks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from console_kit import Visitor, answered, browser, played, serving

from tradewind.serve.service import description
from tradewind.serve.worker import Worker
from tradewind.shop import Shop
from tradewind.simulate.world import World

pytestmark = [pytest.mark.browser]

LANGUAGES = {"en": "en-GB", "zh": "zh-CN"}
Come = Callable[..., Visitor]
Played = tuple[Shop, World]


@pytest.fixture(scope="module")
def played_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    shop, world = played(tmp_path_factory.mktemp("console"))
    with shop:
        yield shop, world


@pytest.fixture(scope="module")
def come(played_shop: Played) -> Iterator[Come]:
    """Opens the console for a visitor; everybody leaves at the end."""
    with ExitStack() as stack:
        opened = stack.enter_context(browser())
        address = stack.enter_context(serving(played_shop[0]))

        def visitor(name: str | None, *, language: str = "en", width: int = 1280) -> Visitor:
            made = Visitor(opened, address, locale=LANGUAGES[language], width=width)
            stack.callback(made.close)
            if name is not None:
                made.log_in(name)
            return made

        yield visitor


def test_the_console_is_generated_from_what_the_service_answers() -> None:
    kept = Path(__file__).resolve().parents[2] / "console" / "openapi.json"
    assert json.loads(kept.read_text(encoding="utf-8")) == description(), "tradewind openapi --out console/openapi.json && make console"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_log_in_page(come: Come, language: str) -> None:
    guest = come(None, language=language)
    guest.page.goto(f"{guest.address}/console/settings")
    guest.page.locator("input[autocomplete=username]").fill("ada")
    guest.page.locator("input[autocomplete=current-password]").fill("not the password")
    guest.page.locator("button[type=submit]").click()
    guest.page.get_by_role("alert").wait_for()
    assert not guest.faults()
    assert guest.page.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-CN"}[language]
    guest.page.locator("input[autocomplete=current-password]").fill("a quiet harbour at dawn")
    guest.page.keyboard.press("Enter")
    guest.settled()
    assert guest.page.url.endswith("/console/settings")  # where they wanted to go


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_works_for_everybody(come: Come, language: str) -> None:
    admin = come("ada", language=language)
    places = admin.places()
    assert places
    for place in places:
        admin.open(place)
        assert not admin.faults(), place
        assert not admin.page.get_by_role("alert").all(), place
        assert not admin.complaints, place


def test_every_page_fits_a_telephone(come: Come) -> None:
    admin = come("ada", width=390)
    wide = {}
    for place in admin.places():
        admin.open(place)
        if over := admin.overflow():
            wide[place] = over
    assert not wide
    assert not admin.complaints


def test_a_role_sees_its_own_pages(come: Come) -> None:
    viewer = come("vera")
    assert "/settings" in come("ada").places()
    assert "/settings" not in viewer.places()


def test_the_keyboard_reaches_the_page_past_the_navigation(come: Come) -> None:
    admin = come("ada")
    admin.open(admin.places()[0])
    admin.page.keyboard.press("Tab")
    assert admin.page.evaluate("document.activeElement.className") == "skip"
    admin.page.keyboard.press("Enter")
    assert admin.page.evaluate("document.activeElement.id") == "main"


def test_people_and_keys(come: Come) -> None:
    admin = come("ada")
    page = admin.page
    admin.open("/settings")
    page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("shop window")
    dialog.get_by_role("button", name="Make a key").click()
    secret = str(dialog.locator("code").text_content())
    assert secret.startswith("tw_")
    dialog.get_by_role("button", name="Close").last.click()
    row = page.get_by_role("row", name="shop window")
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    row.get_by_text("revoked").wait_for()
    assert secret not in page.content()
    assert not admin.complaints


def test_a_campaign_from_the_brief_to_what_it_earned_and_one_customer_to_the_erasure(come: Come, played_shop: Played) -> None:
    shop, world = played_shop
    ada = come("ada")
    page = ada.page
    write_brief(ada, shop)
    for move in ("Plan", "Approve", "Apply"):
        page.get_by_role("button", name=move, exact=True).click()
        if move != "Plan":
            page.get_by_role("dialog").get_by_role("button", name=move, exact=True).click()
        page.get_by_text({"Plan": "Planned", "Approve": "Approved", "Apply": "Running"}[move], exact=True).first.wait_for()
    approve_words(ada)
    plan_id = next(one.plan_id for one in shop.plans.all() if one.campaign == "spring")
    send(ada, shop, plan_id)
    answered(shop, world, plan_id)
    ada.log_in("ada")
    ada.open("/earned")
    page.get_by_role("heading", name="spring").wait_for()
    page.get_by_text("Incremental profit").first.wait_for()
    page.get_by_role("link", name="See the plan").click()
    erase(ada)
    assert not ada.complaints


def write_brief(ada: Visitor, shop: Shop) -> None:
    page, today = ada.page, shop.now().date()
    ada.open("/campaigns")
    page.get_by_role("link", name="Write a brief").click()
    page.get_by_label("Name").fill("spring")
    page.get_by_label("Goal").fill("Bring those back who went quiet")
    page.get_by_label("Audience").fill("frequency > ")
    page.get_by_role("slider").press("End")  # half of the audience is held out: so small a shop tells nothing otherwise
    page.get_by_label("From").fill(str(today))
    page.get_by_label("Until").fill(str(today + timedelta(days=30)))
    page.get_by_role("button", name="Keep the brief").click()
    page.get_by_role("alert").get_by_text("audience").wait_for()
    page.get_by_label("Audience").fill("frequency > 0")
    page.get_by_role("button", name="Keep the brief").click()
    page.get_by_role("heading", name="spring").wait_for()


def approve_words(ada: Visitor) -> None:
    ada.open("/copy")
    ada.page.get_by_text("New in the shop: {title}.").first.wait_for()
    ada.page.get_by_role("button", name="Approve").click()
    ada.page.get_by_text("Nothing waits").wait_for()


def send(ada: Visitor, shop: Shop, plan_id: str) -> None:
    """Have the messages written and handed off; the worker of the test does what the console asked for."""
    page, worker = ada.page, Worker(shop)
    ada.open(f"/plans/{plan_id}")
    page.get_by_role("button", name="Write the messages").click()
    page.get_by_text("waiting").wait_for()
    assert worker.once()
    page.get_by_text("done", exact=True).wait_for()
    page.get_by_text("Messages", exact=True).click()
    page.get_by_text("ready").first.wait_for()
    shop.now.at += timedelta(hours=12)  # type: ignore[attr-defined]
    ada.log_in("ada")  # a session lasts twelve hours
    ada.open(f"/plans/{plan_id}")
    page.get_by_role("button", name="Hand off what is due").click()
    page.get_by_role("dialog").get_by_role("button", name="Hand off what is due").click()
    page.get_by_text("waiting").wait_for()
    assert worker.once()
    page.get_by_text("done", exact=True).wait_for()
    page.get_by_text("Messages", exact=True).click()
    page.get_by_text("handed off").first.wait_for()


def erase(ada: Visitor) -> None:
    page = ada.page
    page.locator("td a").first.click()
    page.get_by_text("Why this customer got this").wait_for()
    who = str(page.locator("main h1").text_content())
    page.get_by_text("Timeline", exact=True).first.click()
    page.get_by_text(re.compile("Decided: ")).first.wait_for()
    page.get_by_role("button", name="Erase").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("button", name="Erase").is_disabled()
    dialog.get_by_label("Repeat the customer's id").fill(who)
    dialog.get_by_role("button", name="Erase").click()
    page.get_by_role("heading", name="Why").wait_for()
    page.get_by_label("Find a customer").fill(who)
    page.get_by_role("button", name="Find").click()
    page.get_by_text("No such customer").wait_for()
