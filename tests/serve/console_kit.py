"""A small simulated shop behind a running service, and a real browser before it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tradewind.demo import START, WINDOW_DAYS, Clock, contacts_of, hand_off
from tradewind.serve.access import Access
from tradewind.serve.console import BUILD
from tradewind.serve.service import service
from tradewind.shop import Shop
from tradewind.simulate.world import World

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

PASSWORD = "a quiet harbour at dawn"
CI = os.environ.get("CI", "").lower() in ("true", "1")
AXE = Path(__file__).resolve().parents[2] / "console" / "node_modules" / "axe-core" / "axe.min.js"
NO_FAULT = ("401 (Unauthorized)", "409 (Conflict)")  # the browser's own line on "nobody is logged in" and on "not learned yet"

WORDS = {
    "id": "own.hook.new",
    "role": "hook",
    "tone": "warm",
    "channels": ["email", "push"],
    "text": "New in the shop: {title}.",
    "claims": ["new"],
}


def lacking(what: str) -> None:
    """Skip on a user's machine, fail in continuous integration."""
    if CI:
        pytest.fail(f"{what}; continuous integration needs it")
    pytest.skip(what)


def played(folder: Path) -> tuple[Shop, World]:
    """A simulated shop which has gone round once: collected, learned, planned, written, sent, answered, measured."""
    world = World.make("tiny", seed=5, start=START, days=60)
    world.write(folder / "export", dirt=0.01)
    clock = Clock(world.end)
    shop = Shop.open(folder / "shop", now=clock)
    shop.home.save_settings(replace(shop.home.settings, name="Harbour", url="https://harbour.example", simulated=True))
    shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
    shop.learn(recommend="graph", as_of=world.end, seed=5)
    plan = shop.decide(budget="400 CNY", holdout=0.25, window_days=WINDOW_DAYS, as_of=world.end, seed=5)
    shop.compose(plan, seed=5)
    hand_off(shop, plan, clock)
    answers = world.respond(contacts_of(shop, plan), start=world.end, days=WINDOW_DAYS, seed=5)
    clock.at = world.end + timedelta(days=WINDOW_DAYS)
    shop.collect(answers)
    shop.collect(shop.measure(plan, as_of=clock.at).outcomes)
    shop.words.enter([WORDS], locale="en", by="writer:chat")
    for name, role in (("ada", "admin"), ("vera", "viewer")):
        Access(shop.home, now=shop.now).add_user(name, PASSWORD, role)
    return shop, world.after(contacts_of(shop, plan))


def answered(shop: Shop, world: World, plan_id: str) -> None:
    """Let the simulated customers answer a plan's messages, and collect what they did: two weeks pass."""
    plan = shop.plan(plan_id)
    start = next(one.as_of for one in shop.plans.all() if one.plan_id == plan_id)
    answers = world.respond(contacts_of(shop, plan), start=start, days=WINDOW_DAYS, seed=9)
    clock = shop.now
    assert isinstance(clock, Clock)
    clock.at = start + timedelta(days=WINDOW_DAYS)
    shop.collect(answers)


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """The service of a shop on a free port of this machine; yields its address."""
    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(service(shop), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)


@contextmanager
def browser() -> Iterator[Browser]:
    """The machine's Chromium, without a window."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        lacking("Chromium is not installed")
    if not (BUILD / "index.html").is_file() or not AXE.is_file():
        lacking("the console is not built: make console")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=quiet)
        yield opened
        opened.close()


class Visitor:
    """Somebody before the console in one language; notes everything that the browser complains about."""

    def __init__(self, browser: Browser, address: str, *, locale: str = "en-GB", width: int = 1280) -> None:
        self.context = browser.new_context(locale=locale, viewport={"width": width, "height": 900}, reduced_motion="reduce")
        self.context.set_default_timeout(20_000)
        self.page: Page = self.context.new_page()
        self.address = address
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(one in message.text for one in NO_FAULT):
            self.complaints.append(message.text)

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        self.page.goto(f"{self.address}/console/")
        self.page.locator("input[autocomplete=username]").fill(name)
        self.page.locator("input[autocomplete=current-password]").fill(password)
        self.page.locator("button[type=submit]").click()
        self.page.locator("nav").wait_for(state="attached")

    def open(self, path: str) -> None:
        """Go to a page and wait until nothing on it is loading."""
        self.page.goto(f"{self.address}/console{path}")
        self.settled()

    def settled(self) -> None:
        self.page.locator("main h1").wait_for()
        self.page.locator("main [aria-busy=true]").first.wait_for(state="detached")

    def places(self) -> list[str]:
        """The addresses of the navigation, in its order."""
        return [str(link.get_attribute("href")).removeprefix("/console") for link in self.page.locator("nav a").all()]

    def faults(self) -> list[str]:
        """What axe-core finds wrong for people who do not see, hear or point."""
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}" for one in found["violations"]]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def close(self) -> None:
        self.context.close()
