"""The host's script: what is said aloud parses back to the same value, and the programme follows the room."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from compose_kit import NOW, STORE, coupon, item
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.compose import spoken
from tradewind.compose.facts import Facts, gather
from tradewind.compose.script import AGAIN, SECONDS, Line, Lot, Segment, Signal, perform, plan, score
from tradewind.errors import InputError, NotFound
from tradewind.types import Offer

# ----------------------------------------------------------------------------- a parser that knows nothing of ``spoken``
HAN = dict(zip("零一二三四五六七八九两", [*range(10), 2], strict=True))
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = {name: 10 * n for n, name in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)}


def han(text: str) -> int:
    """A Chinese numeral: large units split it, small ones add up."""
    for mark, size in (("亿", 10**8), ("万", 10**4)):
        head, found, tail = text.partition(mark)
        if found:
            return han(head) * size + (han(tail) if tail else 0)
    total = figure = 0
    for letter in text:
        if letter in HAN:
            figure = HAN[letter]
        else:
            total, figure = total + (figure or 1) * {"十": 10, "百": 100, "千": 1000}[letter], 0
    return total + figure


def words(text: str) -> int:
    """An English numeral."""
    total = group = 0
    for word in re.split(r"[ -]", text.replace(" and ", " ")):
        if word in ONES:
            group += ONES.index(word)
        elif word in TENS:
            group += TENS[word]
        elif word == "hundred":
            group *= 100
        else:
            total, group = total + group * {"thousand": 10**3, "million": 10**6, "billion": 10**9}[word], 0
    return total + group


def yuan(text: str) -> int:
    """Fen of a spoken Chinese amount."""
    whole, found, rest = text.partition("块")
    fen = 100 * han(whole) if found else 0
    rest = rest if found else text
    tenths, named, cents = rest.partition("毛")
    if named:
        return fen + 10 * han(tenths) + (han(cents.removesuffix("分")) if cents else 0)
    if rest.endswith("分"):
        return fen + han(rest.removesuffix("分"))
    return fen + (10 * han(rest) if rest else 0)


def foreign(text: str, unit: str) -> Decimal:
    whole, _, places = text.removesuffix(unit).partition("点")
    return Decimal(han(whole)) + (Decimal("0." + "".join(str(HAN[letter]) for letter in places)) if places else 0)


def coins(text: str, many: str, one: str, cents: str, cent: str) -> int:
    """Minor units of a spoken English amount."""
    total = 0
    match = re.fullmatch(rf"(?:(.*?) (?:{many}|{one}))?(?: and )? ?(?:oh )?(.*?)(?: (?:{cents}|{cent}))?", text)
    assert match is not None, text
    total += 100 * words(match[1]) if match[1] else 0
    return total + (words(match[2]) if match[2] else 0)


AMOUNTS = st.one_of(st.integers(0, 30_000), st.integers(0, 10**12 - 1))


@settings(max_examples=500, deadline=None)
@given(AMOUNTS)
def test_a_spoken_number_parses_back(value: int) -> None:
    assert han(spoken.number(value, "zh-CN")) == value
    assert han(spoken.number(value, "zh-CN", counted=True)) == value
    assert words(spoken.number(value, "en")) == value


@settings(max_examples=500, deadline=None)
@given(AMOUNTS)
def test_a_spoken_amount_parses_back(value: int) -> None:
    assert yuan(spoken.money(value, "CNY", "zh-CN")) == value
    assert foreign(spoken.money(value, "USD", "zh-CN"), "美元") * 100 == value
    assert han(spoken.money(value, "JPY", "zh-CN").removesuffix("日元")) == value
    assert coins(spoken.money(value, "CNY", "en"), "yuan", "yuan", "fen", "fen") == value
    assert coins(spoken.money(value, "USD", "en"), "dollars", "dollar", "cents", "cent") == value
    assert coins(spoken.money(value, "GBP", "en"), "pounds", "pound", "pence", "penny") == value
    assert words(re.sub(" yen$", "", spoken.money(value, "JPY", "en"))) == value


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9_999))
def test_a_spoken_share_parses_back(hundredths: int) -> None:
    percent = Decimal(hundredths) / 100
    left = spoken.share(percent, "zh-CN").removesuffix("折")
    whole, point, places = left.partition("点")
    tenths = (
        han(whole) + Decimal("0." + "".join(str(HAN[letter]) for letter in places))
        if point
        else Decimal(".".join(str(HAN[c]) for c in left))
    )
    assert 100 - 10 * tenths == percent
    whole, _, places = spoken.share(percent, "en").removesuffix(" percent").partition(" point ")
    assert Decimal(f"{words(whole)}." + "".join(str(ONES.index(word)) for word in places.split())) == percent


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3 * 365 * 24 * 60))
def test_a_spoken_moment_parses_back(minutes: int) -> None:
    place = ZoneInfo("Asia/Shanghai")
    end = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    local = end.astimezone(place)
    said = spoken.moment(end, place=place, now=NOW, locale="zh-CN")
    found = re.fullmatch(r"(?:(.{4})年)?(.+?)月(.+?)日(?:(.+?)点(?:整|(.+)分))?", said)
    assert found is not None, said
    day = local if (local.hour, local.minute) != (0, 0) else local - timedelta(days=1)
    assert (han(found[2]), han(found[3])) == (day.month, day.day)
    assert int("".join(str(HAN[c]) for c in found[1])) == day.year if found[1] else day.year == 2026
    assert found[4] is None or (han(found[4]), han(found[5] or "零")) == (local.hour, local.minute)
    spoken_en = spoken.moment(end, place=place, now=NOW, locale="en")
    assert f" of {day:%B}" in spoken_en
    assert spoken_en.endswith(" at noon") == ((local.hour, local.minute) == (12, 0))


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "said"),
    [
        (8_890, "CNY", "zh-CN", "八十八块九"),
        (8_895, "CNY", "zh-CN", "八十八块九毛五分"),
        (8_805, "CNY", "zh-CN", "八十八块零五分"),
        (200, "CNY", "zh-CN", "两块"),
        (50, "CNY", "zh-CN", "五毛"),
        (1_200_000, "CNY", "zh-CN", "一万两千块"),
        (8_890, "EUR", "zh-CN", "八十八点九欧元"),
        (8_890, "CNY", "en", "eighty-eight yuan ninety"),
        (8_805, "CNY", "en", "eighty-eight yuan oh five"),
        (101, "USD", "en", "one dollar and one cent"),
        (1_299, "JPY", "en", "one thousand two hundred and ninety-nine yen"),
    ],
)
def test_amounts_sound_as_people_say_them(amount: int, currency: str, locale: str, said: str) -> None:
    assert spoken.money(amount, currency, locale) == said


def test_shares_sound_as_people_say_them() -> None:
    assert [spoken.share(Decimal(p), "zh-CN") for p in ("20", "15", "12.5")] == ["八折", "八五折", "八点七五折"]
    assert spoken.share(Decimal("12.5"), "en") == "twelve point five percent"


@pytest.mark.parametrize("value", [-1, 10**12])
def test_what_cannot_be_said_is_refused(value: int) -> None:
    with pytest.raises(InputError, match="from 0 to"):
        spoken.number(value, "en")
    with pytest.raises(InputError, match="no words for XAU"):
        spoken.money(1, "XAU", "en")
    with pytest.raises(InputError, match="must not be negative"):
        spoken.money(-100, "CNY", "zh-CN")


# -------------------------------------------------------------------------------------------------- the programme
LOTS = [Lot("a", 3.0, ends=True), Lot("b", 2.0), Lot("c", 1.0)]


def first_items(segments: tuple[Segment, ...]) -> list[str]:
    return [segment.item or "" for segment in segments if segment.kind == "item"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(0.1, 100), min_size=1, max_size=12),
    st.integers(3, 90),
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 11), st.sampled_from(["click", "comment", "purchase"]), st.integers(0, 50)),
        max_size=12,
    ),
)
def test_a_programme_fits_its_time_and_gives_everybody_a_turn_if_it_can(
    values: list[float], minutes: int, heard: list[tuple[int, int, str, int]]
) -> None:
    lots = [Lot(f"i{n}", value, ends=n % 2 == 0) for n, value in enumerate(values)]
    signals = [Signal(second, f"i{n}", kind, count) for second, n, kind, count in heard]
    told = plan(lots, minutes=minutes, signals=signals)
    assert told == plan(list(reversed(lots)), minutes=minutes, signals=signals)  # the same whatever the order
    assert (told[0].kind, told[-1].kind) == ("opening", "closing")
    assert told[-1].start + told[-1].seconds <= minutes * 60
    assert all(a.start + a.seconds == b.start for a, b in pairwise(told))
    shown = first_items(told)
    assert len(shown) == len(set(shown)) == min(len(lots), (minutes * 60 - 70) // 70)
    scores = {lot.item: score(lot, signals, at=40) for lot in lots}
    assert [scores[name] for name in shown] == sorted((scores[name] for name in shown), reverse=True)


def test_interest_of_the_room_changes_what_comes_next_and_fades() -> None:
    opening = plan(LOTS, minutes=20)[0]
    assert first_items(plan(LOTS, minutes=20, said=[opening])) == ["a", "b", "c"]
    assert first_items(plan(LOTS, minutes=20, said=[opening], signals=[Signal(30, "c", "purchase", 10)])) == ["c", "a", "b"]
    assert score(LOTS[2], [Signal(30, "c", "purchase", 10)], at=30) > score(LOTS[2], [Signal(30, "c", "purchase", 10)], at=3_000)


def test_little_time_shortens_and_leaves_the_least_out() -> None:
    assert {s.seconds for s in plan(LOTS, minutes=30) if s.kind == "item" and s.item == "a"} == {SECONDS["item"]}
    short = plan(LOTS, minutes=3.5)
    assert first_items(short) == ["a", "b"]
    assert {s.seconds for s in short if s.kind == "item"} == {40}


def test_time_left_over_brings_back_what_the_room_likes() -> None:
    told = plan(LOTS, minutes=20, signals=[Signal(30, "b", "comment", 30)])
    again = [s for s in told[10:] if s.kind in AGAIN]
    assert again
    assert [s.item for s in told if s.kind == "offer"].count("b") >= 2


@pytest.mark.parametrize(
    ("lots", "minutes", "signals", "message"),
    [
        ([], 20, (), "at least one item"),
        ([Lot("a", 1), Lot("a", 2)], 20, (), "twice"),
        ([Lot("a", 0)], 20, (), "above zero"),
        ([Lot("a", float("nan"))], 20, (), "above zero"),
        (LOTS, 2, (), "from 3 to 480 minutes"),
        (LOTS, 20, [Signal(0, "a", "click", -1)], "Counts are 0 or more"),
    ],
)
def test_a_programme_that_makes_no_sense_is_refused(lots: list[Lot], minutes: float, signals: list[Signal], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(lots, minutes=minutes, signals=signals)
    with pytest.raises(NotFound, match="click, comment, purchase"):
        plan(LOTS, minutes=20, signals=[Signal(0, "a", "like")])


class Stage:
    """Three items whose prices and stock change while the stream runs."""

    def __init__(self, locale: str) -> None:
        self.locale = locale

    def row(self, name: str, at: datetime) -> dict[str, Any]:
        late = at > NOW + timedelta(minutes=6)
        return item(name, price=9_950 if late else 8_890, stock=0 if name == "b" and at > NOW + timedelta(minutes=2) else 30)

    def __call__(self, name: str | None, at: datetime) -> tuple[Facts, Mapping[str, object] | None, Offer | None]:
        row = None if name is None else self.row(name, at)
        offer = coupon(percent=20) if name == "a" else None
        return gather(row, offer=offer, store=replace(STORE, url=None), locale=self.locale, zone="Asia/Shanghai", at=at), row, offer


def performed(locale: str, **more: Any) -> tuple[Line, ...]:
    return perform(LOTS, minutes=18, start=NOW, facts=Stage(locale), zone="Asia/Shanghai", **more)


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_what_is_said_holds_at_that_moment_is_spoken_and_labelled(locale: str) -> None:
    lines = performed(locale)
    spoken_lines = [line for line in lines if line.withheld is None]
    assert (spoken_lines[0].segment.kind, spoken_lines[-1].segment.kind) == ("opening", "closing")
    for line in spoken_lines:
        assert not any(letter.isdigit() for letter in line.speech), line.speech
        assert "AI" in line.label
        if line.segment.kind == "offer":
            late = line.segment.start > 6 * 60
            price = 9_950 if late else 8_890
            off = spoken.money(price * 8 // 10, "CNY", locale)
            assert (off if line.segment.item == "a" else spoken.money(price, "CNY", locale)) in line.speech, line.speech
        assert 0 < line.spoken_seconds < 2 * line.segment.seconds
    assert {line.segment.kind for line in spoken_lines} == set(SECONDS)
    intros = [line.components[0] for line in spoken_lines if line.segment.kind == "item"]
    assert len(set(intros)) == len(intros)
    gone = [line for line in lines if line.segment.item == "b" and line.withheld]
    assert [line.withheld for line in gone] == ["out of stock"]
    assert performed(locale) == lines


def test_a_programme_of_nothing_sellable_says_hello_and_goodbye() -> None:
    def sold_out(name: str | None, at: datetime) -> tuple[Facts, Mapping[str, object] | None, Offer | None]:
        known, row, offer = Stage("en")(name, at)
        return known, None if row is None else {**row, "stock": 0}, offer

    lines = perform(LOTS, minutes=10, start=NOW, facts=sold_out)
    assert [line.segment.kind for line in lines if line.withheld is None] == ["opening", "closing"]
    assert [line.withheld for line in lines if line.withheld] == ["out of stock"] * 3
