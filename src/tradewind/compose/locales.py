"""How money, shares, dates and counts are written per language: a small table instead of a locale library.

The table is ``packs/locales.toml``. Everything here is pure: same values, same text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOCALES = ("zh-CN", "en")
UTC_ZONE = ZoneInfo("UTC")


@cache
def data(name: str) -> Mapping[str, Any]:
    """Return the data file ``packs/<name>.toml``."""
    text = files("tradewind.compose.packs").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def resolve(tag: str | None) -> str:
    """Map a BCP 47 tag to a language that we write: every ``zh`` to ``zh-CN``, all else to ``en``."""
    return "zh-CN" if (tag or "").strip().lower().replace("_", "-").split("-")[0] == "zh" else "en"


@cache
def zone(name: str | None) -> ZoneInfo | None:
    """Return the IANA zone, or None when there is none of that name."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def money(amount: int, currency: str | None, locale: str) -> str | None:
    """Write minor units as people read them (``12.50``, ``1,299``); None for a currency that the table lacks."""
    table = data("locales")
    pattern = table[locale]["money"].get(currency)
    if pattern is None:
        return None
    unit = 10 ** table["minor_digits"][currency]
    whole, rest = divmod(amount, unit)
    cents = f".{rest:0{len(str(unit)) - 1}d}" if rest else ""
    text: str = pattern.replace("{amount}", f"{whole:,}{cents}")
    return text


def percent_off(share: Decimal, locale: str) -> str:
    """Write a reduction of ``share`` percent: ``20%`` in English, the remaining tenths in Chinese."""
    pattern: str = data("locales")[locale]["percent_off"]
    return pattern.replace("{percent}", _plain(share)).replace("{tenths}", _plain((100 - share) / 10))


def rating(value: Decimal, locale: str) -> str:
    """Write a mean rating on the scale of five stars, to one decimal."""
    pattern: str = data("locales")[locale]["rating"]
    return pattern.replace("{value}", f"{value:.1f}")


def deadline(ends_at: datetime, *, place: ZoneInfo, now: datetime, locale: str) -> str:
    """Write the last moment of a window as the customer's clock shows it.

    A window that ends at local midnight, or in the second before, ends with that day; any other end shows the time of day. The year is
    written only when it is not the current one.
    """
    table = data("locales")[locale]
    local = ends_at.astimezone(place)
    midnight = (local.hour, local.minute) == (0, 0)
    day = local - timedelta(days=1) if midnight else local
    pattern = table["date"] if day.year == now.astimezone(place).year else table["date_year"]
    text: str = pattern.format(year=day.year, month=table["months"][day.month - 1], day=day.day)
    if not midnight and (local.hour, local.minute, local.second) != (23, 59, 59):
        text = table["clock"].format(date=text, hour=f"{local.hour:02d}", minute=f"{local.minute:02d}")
    return text


def _plain(value: Decimal) -> str:
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".")
