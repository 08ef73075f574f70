"""A report opens in a real browser, whole, without asking anybody for anything, also on a telephone."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tradewind.measure import plots
from tradewind.measure.report import to_html
from tradewind.types import Estimate, Report, Section

CI = os.environ.get("CI", "").lower() in ("true", "1")
QUIET = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; skipped on a user's machine without one, a failure in continuous integration."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        what = "Chromium is not installed"
        if CI:
            pytest.fail(f"{what}; continuous integration needs it")
        pytest.skip(what)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything that a report can hold, and with text that would like to be markup."""
    total = Estimate("incremental profit", 93_972.0, 9_670.0, 178_275.0, 0.95, 211, "minor")
    days = np.arange(1.0, 15.0)
    drawn = (
        plots.intervals([total], title="Incremental profit", unit="CNY", truths={total.name: 17_675.0}, scale=100.0),
        plots.band(days, days * 10, days * 5, days * 20, title="Day by day", unit="CNY"),
        plots.bars({"Picked <for> you & yours": 114.0, "nothing": 28.0}, title="Who got what", unit="customers"),
    )
    rows = ({"offer": "<img src=http://example.org/x.png>", "customers": 3, "message": "\u4e00\u5f20\u5238\n\u8bf7\u6536\u597d"},)
    sections = [
        Section("What we earned", ("The plan earned something.",), (total,), (), drawn[:1]),
        Section("Who got what", (), (), rows, drawn[1:]),
    ]
    folder = tmp_path_factory.mktemp("page")
    report = Report("What a plan earned", datetime(2026, 6, 2, tzinfo=UTC), sections, simulated=True, meta={"currency": "CNY"})
    (folder / "report.html").write_text(to_html(report), encoding="utf-8")
    return folder / "report.html"


def browse(chromium: str, page: Path, *options: str) -> str:
    """Run the browser on a page with a profile of its own, and return what it prints."""
    command = [chromium, *QUIET.split(), f"--user-data-dir={page.parent / 'profile'}", *options, page.as_uri()]
    environment = os.environ | {"HOME": str(page.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_page_renders_whole_and_its_text_stays_text(chromium: str, page: Path) -> None:
    dom = browse(chromium, page, "--dump-dom")
    assert dom.count("<svg") == 3
    assert dom.count("<table") == 2
    assert "CNY 939.72" in dom
    assert "Simulated:" in dom
    assert "<img" not in dom
    assert "\u4e00\u5f20\u5238" in dom
    assert 'aria-label="Incremental profit"' in dom


class Outward(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        for name, value in attrs:
            if name.rpartition(":")[2] in ("src", "href", "srcset", "action") and not (value or "").startswith("#"):
                self.found.append(f"{tag} {name}={value}")


def asked(chromium: str, page: Path) -> set[str]:
    """The addresses of the browser's own log of requests, without those that it asks on its own account."""
    log = page.with_suffix(".net.json")
    browse(chromium, page, "--dump-dom", f"--log-net-log={log}")
    urls = set(re.findall(r'"(?:url|original_url)":"(https?://[^"]*)"', log.read_text(encoding="utf-8", errors="replace")))
    return {url for url in urls if not re.search(r"google|gvt1|chromium", url)}


def test_nothing_is_asked_from_anywhere(chromium: str, page: Path) -> None:
    assert not asked(chromium, page)
    source = page.read_text(encoding="utf-8")
    outward = Outward()
    outward.feed(source)
    assert not outward.found
    assert not re.findall(r"url\((?!#|'#|\"#)", source)
    # The log would have told: a page that does ask is seen asking.
    asking = page.with_name("asking.html")
    asking.write_text('<img src="http://nowhere.invalid/pixel.png">', encoding="utf-8")
    assert asked(chromium, asking) == {"http://nowhere.invalid/pixel.png"}


@pytest.mark.parametrize("width", [1100, 420])
def test_a_screenshot_shows_something_and_fits_the_width(chromium: str, page: Path, width: int) -> None:
    shot = page.parent / f"{width}.png"
    browse(chromium, page, f"--window-size={width},2000", f"--screenshot={shot}")
    data = shot.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (width, 2000)
    assert len(data) > 20_000
