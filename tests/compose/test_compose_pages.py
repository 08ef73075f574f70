"""Texts that are no messages, printed for a plan's best items; and the two rooms' worth of wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest
from compose_kit import NOW, coupon, item, plan_of, shop

from tradewind.compose.pages import FORMATS, Desk, pages, print_format, read_signals, script
from tradewind.compose.recipe import RECIPES, platforms
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound


@pytest.fixture
def small(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "harbour")
    shop(home, customers=12, items=[item("mug-1"), item("mug-2", price=20_000, stock=-2)], offers=[coupon(percent=20, items=["mug-1"])])
    return home


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_every_format_is_written_for_the_best_items(small: Home, locale: str) -> None:
    with small as home:
        desk = Desk.open(home, plan_of(home, channels=["push"]), locale=locale, now=NOW, shop_url="https://harbour.example/{item}")
        assert desk.best(1)[0][0] == "mug-1"
        for form in FORMATS[:-1]:
            first = pages(desk, form)[0]
            assert first.withheld is None, (form, first)
            assert set(first.parts) == set(pages(desk, form)[0].parts)
            if form == "ad":
                assert set(platforms(first.parts)) == {"google_search", "meta_feed", "baidu_search", "tiktok_feed"}
        lines = script(desk, minutes=8)
        assert lines[0].segment.kind == "opening"
        assert lines[-1].segment.kind == "closing"
        told, text = print_format(home, desk.plan, "live", locale=locale, now=NOW, minutes=8)
        assert text.startswith("On screen throughout: ")
        assert len(told["segments"]) == len(lines)


def test_negative_stock_is_no_stock(small: Home) -> None:
    with small as home:
        desk = Desk.open(home, plan_of(home, channels=["push"]), locale="en", now=NOW)
        assert all(page.withheld == "out of stock" for page in pages(desk, "ad") if page.item == "mug-2")
        assert all(line.withheld == "out of stock" for line in script(desk, minutes=8) if line.segment.item == "mug-2")


def test_what_the_command_cannot_do_is_said(small: Home, tmp_path: Path) -> None:
    with small as home:
        plan = plan_of(home, channels=["push"])
        with pytest.raises(NotFound, match='format "adv"'):
            print_format(home, plan, "adv", locale=None, now=NOW)
        with pytest.raises(InputError, match='no texts in "fr"'):
            print_format(home, plan, "ad", locale="fr", now=NOW)
        with pytest.raises(InputError, match="--signals are for"):
            print_format(home, plan, "ad", locale=None, now=NOW, signals=tmp_path / "s.csv")
    assert "live" in FORMATS
    assert len(RECIPES) == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("second,item,kind\n1,a,click\n", "line 2"),
        ("second,item,kind,count\nx,a,click,1\n", "line 2"),
        ("second,item,kind,count\n1,a,like,1\n", 'kind of signal "like"'),
        ("second,item,kind,count\n1,a,click\n", "line 2"),
    ],
)
def test_wrong_signals_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "signals.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_signals(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_signals(tmp_path / "none.csv")
    path.write_text("second,item,kind,count\n1.5,a,click,2\n")
    assert read_signals(path)[0].count == 2
