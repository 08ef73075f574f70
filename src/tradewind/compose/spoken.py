"""How numbers, amounts, shares and moments are said aloud, in Chinese and English: for a host's script.

Pure: same values, same words. ``facts`` turns the texts of facts into what a voice says, so that templates, rendering and guard
stay what they are. Names stay as they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tradewind.compose.fact import Fact, Facts
from tradewind.compose.locales import data
from tradewind.compose.template import Slot
from tradewind.errors import InputError

LARGEST = 10**12 - 1


def number(value: int, locale: str, *, counted: bool = False) -> str:
    """Say a whole number from 0 to ``LARGEST``. ``counted``: a measure word follows, so that Chinese says liang for a lone two.

    Raises
    ------
    InputError
        The number is negative or larger.
    """
    if not 0 <= value <= LARGEST:
        raise InputError(f"A number to be said aloud must be from 0 to {LARGEST:,}; got {value}.")
    table = data("spoken")[locale]
    if locale != "zh-CN":
        return _english(value, table)
    if counted and value == 2:
        return str(table["pair"])
    return _chinese(value, table)


def money(amount: int, currency: str, locale: str) -> str:
    """Say minor units: ``eighty-eight yuan ninety``, in Chinese with the pieces and tenths of everyday speech.

    Raises
    ------
    InputError
        A negative amount, or a currency that the table lacks.
    """
    units: Mapping[str, Any] | None = data("spoken")[locale]["money"].get(currency)
    if units is None:
        raise InputError(f"{locale}: there are no words for {currency}. Add it to packs/spoken.toml.")
    digits = data("locales")["minor_digits"][currency]
    whole, rest = divmod(amount, 10**digits)
    if amount < 0:
        raise InputError(f"An amount to be said aloud must not be negative; got {amount}.")
    return _said_zh(whole, rest, units, digits) if locale == "zh-CN" else _said_en(whole, rest, units)


def share(percent: Decimal, locale: str) -> str:
    """Say a reduction: ``twelve point five percent`` in English, what is left in tenths in Chinese (20 percent: eight tenths)."""
    table = data("spoken")[locale]
    if locale != "zh-CN":
        return f"{decimal(percent, locale)} percent"
    left = (100 - percent).normalize()
    if left == left.to_integral_value() and left >= 10:
        tens, ones = divmod(int(left), 10)
        return f"{table['digits'][tens]}{table['digits'][ones] if ones else ''}{table['tenths']}"
    return decimal(left / 10, locale) + str(table["tenths"])


def decimal(value: Decimal, locale: str) -> str:
    """Say a decimal number, the places after the point digit by digit."""
    table = data("spoken")[locale]
    text = f"{value.normalize():f}"
    whole, _, places = text.partition(".")
    said = number(int(whole), locale)
    if not places:
        return said
    words = [table["digits"][int(place)] for place in places]
    return f"{said}{table['point']}{('' if locale == 'zh-CN' else ' ').join(words)}"


def moment(ends_at: datetime, *, place: ZoneInfo, now: datetime, locale: str) -> str:
    """Say the last moment of a window on the listener's clock; a window that ends with its day names the day alone."""
    table = data("spoken")[locale]
    local = ends_at.astimezone(place)
    midnight = (local.hour, local.minute) == (0, 0)
    day = local - timedelta(days=1) if midnight else local
    year = day.year != now.astimezone(place).year
    clock = not midnight and (local.hour, local.minute, local.second) != (23, 59, 59)
    if locale == "zh-CN":
        text = "".join(table["digits"][int(figure)] for figure in str(day.year)) + table["year"] if year else ""
        text += f"{number(day.month, locale)}{table['month']}{number(day.day, locale)}{table['day']}"
        return f"{text}{_clock_zh(local, table)}" if clock else text
    text = f"the {_ordinal(day.day, table)} of {data('locales')[locale]['months'][day.month - 1]}"
    text += f" {_year(day.year, locale)}" if year else ""
    return f"{text} at {_clock_en(local, table)}" if clock else text


def facts(known: Facts, *, place: ZoneInfo) -> Facts:
    """Return the facts with the texts that a voice says. A fact that cannot be said is left out."""
    said: dict[str, Fact] = {}
    notes: list[str] = []
    for name, fact in known.facts.items():
        try:
            text = _text(fact, known, place=place)
        except InputError as error:
            notes.append(f"{name}: {str(error).partition('.')[0]}")
            continue
        said[name] = replace(fact, text=text)
    return replace(known, facts=said).noting(notes)


def _text(fact: Fact, known: Facts, *, place: ZoneInfo) -> str:
    if fact.kind is Slot.MONEY:
        return money(fact.value, known.currency or "", known.locale)
    if fact.kind is Slot.SHARE:
        return share(fact.value, known.locale)
    if fact.kind is Slot.DATE:
        return moment(fact.value, place=place, now=known.at, locale=known.locale)
    if fact.name == "rating":
        rated: str = data("spoken")[known.locale]["rating"]
        return rated.replace("{value}", decimal(Decimal(f"{fact.value:.1f}"), known.locale))
    if fact.kind is Slot.NUMBER:
        return number(fact.value, known.locale, counted=True)
    return fact.text


# --------------------------------------------------------------------------------------------------------- Chinese
def _chinese(value: int, table: Mapping[str, Any]) -> str:
    digits, large = table["digits"], table["large"]
    if value == 0:
        return str(digits[0])
    groups: list[int] = []
    rest = value
    while rest:
        rest, group = divmod(rest, 10_000)
        groups.append(group)
    text = ""
    for place in range(len(groups) - 1, -1, -1):
        group = groups[place]
        if not group:
            continue
        if text and (group < 1_000 or not groups[place + 1]):
            text += digits[0]
        text += (table["pair"] if group == 2 and place else _four(group, table)) + large[place]
    tens = digits[1] + table["small"][1]
    return text.removeprefix(digits[1]) if text.startswith(tens) else text


def _four(group: int, table: Mapping[str, Any]) -> str:
    """One to four digits; a gap inside is said as one zero."""
    digits, text, gap = table["digits"], "", False
    for place in (3, 2, 1, 0):
        figure = group // 10**place % 10
        if not figure:
            gap = bool(text)
            continue
        text += (digits[0] if gap else "") + (table["pair"] if figure == 2 and place >= 2 else digits[figure]) + table["small"][place]
        gap = False
    return text


def _said_zh(whole: int, rest: int, units: Mapping[str, Any], digits: int) -> str:
    table = data("spoken")["zh-CN"]
    if "tenth" not in units:  # a foreign currency is read as a decimal number
        value = Decimal(whole) + Decimal(rest) / 10**digits
        return (number(whole, "zh-CN", counted=True) if not rest else decimal(value, "zh-CN")) + str(units["unit"])
    tenths, cents = divmod(rest, 10)
    text = f"{number(whole, 'zh-CN', counted=True)}{units['unit']}" if whole or not rest else ""
    figures = table["digits"]
    if not rest:
        return text
    if not text:  # below one: the units are named
        said = [(tenths, units["tenth"]), (cents, units["cent"])]
        return "".join(f"{number(figure, 'zh-CN', counted=True)}{unit}" for figure, unit in said if figure)
    if not cents:
        return text + str(figures[tenths])
    if not tenths:
        return text + str(figures[0]) + str(figures[cents]) + str(units["cent"])
    return text + str(figures[tenths]) + str(units["tenth"]) + str(figures[cents]) + str(units["cent"])


def _clock_zh(local: datetime, table: Mapping[str, Any]) -> str:
    text = f"{number(local.hour, 'zh-CN', counted=True)}{table['hour']}"
    if not local.minute:
        return f"{text}{table['sharp']}"
    zero = table["digits"][0] if local.minute < 10 else ""
    return f"{text}{zero}{number(local.minute, 'zh-CN')}{table['minute']}"


# --------------------------------------------------------------------------------------------------------- English
def _english(value: int, table: Mapping[str, Any]) -> str:
    if value < 20:
        return str(table["ones"][value])
    if value < 100:
        tens, ones = divmod(value, 10)
        tail = f"-{table['ones'][ones]}" if ones else ""
        return f"{table['tens'][tens]}{tail}"
    if value < 1_000:
        hundreds, rest = divmod(value, 100)
        return f"{table['ones'][hundreds]} hundred" + (f" and {_english(rest, table)}" if rest else "")
    for size, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if value >= size:
            head, rest = divmod(value, size)
            joint = " and " if 0 < rest < 100 else " "
            return f"{_english(head, table)} {word}" + (joint + _english(rest, table) if rest else "")
    raise AssertionError("every number below a thousand was said above")


def _said_en(whole: int, rest: int, units: Mapping[str, Any]) -> str:
    text = f"{number(whole, 'en')} {units['one'] if whole == 1 else units['many']}"
    if not rest:
        return text
    cents = f"{number(rest, 'en')} {units['cent'] if rest == 1 else units['cents']}"
    if not whole:
        return cents
    if units.get("short"):  # eighty-eight yuan ninety, eighty-eight yuan oh five
        return f"{text} {'oh ' if rest < 10 else ''}{number(rest, 'en')}"
    return f"{text} and {cents}"


def _ordinal(day: int, table: Mapping[str, Any]) -> str:
    tens, ones = divmod(day, 10)
    if day <= 20:
        return str(table["ordinals"][day])
    return str(table["thirtieth"]) if day == 30 else f"{table['tens'][tens]}-{table['ordinals'][ones]}"


def _year(year: int, locale: str) -> str:
    high, low = divmod(year, 100)
    if low < 10:
        return number(year, locale)
    return f"{number(high, locale)} {number(low, locale)}"


def _clock_en(local: datetime, table: Mapping[str, Any]) -> str:
    if (local.hour, local.minute) == (12, 0):
        return str(table["noon"])
    hour = number((local.hour - 1) % 12 + 1, "en")
    minute = "" if not local.minute else f" {'oh ' if local.minute < 10 else ''}{number(local.minute, 'en')}"
    part = next(name for name, end in table["parts"].items() if local.hour < end)
    return f"{hour}{minute or table['sharp']} {part}"
