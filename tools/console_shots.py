"""Pictures of the console for the docs: every page of a running service, small enough to keep.

python tools/console_shots.py http://127.0.0.1:8080 NAME PASSWORD docs/images/console [--plan ID] [--customer ID] [--campaign NAME]
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

COLOURS = 96
TALLEST = 1500  # pixels


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    for name in ("address", "name", "password"):
        asked.add_argument(name)
    asked.add_argument("folder", type=Path)
    for name in ("--plan", "--customer", "--campaign"):
        asked.add_argument(name)
    told = asked.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = visitor(browser, told)
        paths = [str(link.get_attribute("href")).removeprefix("/console") for link in page.locator("nav a").all()]
        deep = {"plan": f"/plans/{told.plan}", "why": f"/customers/{told.customer}", "campaign": f"/campaigns/{told.campaign}"}
        named = {path.strip("/"): path for path in paths} | {"brief": "/campaigns/new"} | {k: v for k, v in deep.items() if "None" not in v}
        for name, path in named.items():
            shoot(page, told, path, name)
        shoot(visitor(browser, told, scheme="dark"), told, "/earned", "earned-dark")
        shoot(visitor(browser, told, locale="zh-CN"), told, "/earned", "earned-zh")
        shoot(visitor(browser, told, width=390), told, "/earned", "earned-phone")
        browser.close()


def visitor(browser: Browser, told: argparse.Namespace, *, locale: str = "en-GB", scheme: str = "light", width: int = 1200) -> Page:
    context = browser.new_context(locale=locale, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(90_000)
    page = context.new_page()
    page.goto(f"{told.address}/console/")
    page.locator("input[autocomplete=username]").fill(told.name)
    page.locator("input[autocomplete=current-password]").fill(told.password)
    page.locator("button[type=submit]").click()
    page.locator("nav").wait_for(state="attached")
    return page


def shoot(page: Page, told: argparse.Namespace, path: str, name: str) -> None:
    page.goto(f"{told.address}/console{path}")
    page.locator("main h1").wait_for()
    page.locator("main [aria-busy=true]").first.wait_for(state="detached")
    page.wait_for_timeout(300)
    tall = int(page.evaluate("document.documentElement.scrollHeight"))
    size = page.viewport_size or {"width": 1200, "height": 800}
    page.set_viewport_size({"width": size["width"], "height": max(800, min(tall, TALLEST))})
    page.wait_for_timeout(300)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").quantize(COLOURS).save(told.folder / f"{name}.png", optimize=True)
    page.set_viewport_size(size)
    print(f"{name}.png {(told.folder / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
