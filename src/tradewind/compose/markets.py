"""Which currency a customer pays in, by which law reductions are measured, and at what rate prices are converted.

``markets.toml`` in the shop's folder; without it everybody pays in the item's currency and no reference price is claimed::

    [[market]]
    regions = ["DE", "FR"]    # of the customer's language tag (de-DE); a market without regions is everybody else's
    currency = "EUR"          # left out: the currency of the item
    prices = "EU"             # EU | CN | US; left out: no reference prices

    [[rate]]
    from = "CNY"
    to = "EUR"
    rate = "0.1284"           # the rate that the shop charges at, as text: exact
    at = 2026-03-01T00:00:00Z
    until = 2026-03-02T00:00:00Z

Nothing is converted silently: without a rate that holds, a text states no price, and ``headers["fallbacks"]`` says why.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from tradewind.compose.locales import data
from tradewind.compose.prices import RULES
from tradewind.errors import InputError, did_you_mean
from tradewind.types import utc

NAME = "markets.toml"
NEAREST, UP, DOWN = ROUND_HALF_UP, ROUND_CEILING, ROUND_FLOOR
_KEYS = {"market": {"regions", "currency", "prices"}, "rate": {"from", "to", "rate", "at", "until"}}


@dataclass(frozen=True, slots=True)
class Rate:
    """One major unit of ``source`` is ``rate`` major units of ``target`` from ``at`` to ``until``."""

    source: str
    target: str
    rate: Decimal
    at: datetime
    until: datetime

    def convert(self, amount: int, *, rounding: str = NEAREST) -> int:
        """Minor units of ``source`` in minor units of ``target``."""
        digits = data("locales")["minor_digits"]
        exact = Decimal(amount) * self.rate * Decimal(10) ** (digits[self.target] - digits[self.source])
        return int(exact.quantize(Decimal(1), rounding=rounding))


@dataclass(frozen=True, slots=True)
class Market:
    """Where a customer buys: regions (ISO 3166, empty: everywhere else), currency (None: the item's) and price law."""

    regions: tuple[str, ...] = ()
    currency: str | None = None
    prices: str | None = None


ANYWHERE = Market()


@dataclass(frozen=True, slots=True)
class Markets:
    """The markets and rates of a shop."""

    markets: tuple[Market, ...] = ()
    rates: tuple[Rate, ...] = ()

    def of(self, tag: str | None) -> Market:
        """Return the market of a customer by the region of a BCP 47 tag; the one without regions, or none of these, for others."""
        region = region_of(tag)
        own = next((market for market in self.markets if region in market.regions), None)
        return own or next((market for market in self.markets if not market.regions), ANYWHERE)


def region_of(tag: str | None) -> str | None:
    """Return the region of a BCP 47 tag (``zh-Hant-HK``: HK), or None."""
    parts = (tag or "").strip().replace("_", "-").split("-")[1:]
    return next((part.upper() for part in parts if re.fullmatch(r"[A-Za-z]{2}", part)), None)


def rate(rates: Sequence[Rate], source: str, target: str, *, at: datetime) -> Rate | None:
    """Return the newest rate that holds at ``at``, or None."""
    held = [one for one in rates if (one.source, one.target) == (source, target) and one.at <= at < one.until]
    return max(held, key=lambda one: one.at, default=None)


def load(root: Path) -> Markets:
    """Read the markets of the shop in ``root``; none where there is no file.

    Raises
    ------
    InputError
        The file is no TOML, or a field is unknown, missing or not allowed; the message names it.
    """
    path = root / NAME
    if not path.is_file():
        return Markets()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}. Mend that line.") from error
    return read(table, where=str(path))


def read(table: Mapping[str, Any], *, where: str = NAME) -> Markets:
    """Make markets from the tables of the file; raises like :func:`load`."""
    for key, rows in table.items():
        _known(key, _KEYS, where, "table")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{where}: write [[{key}]], once per {key}.")
        for row in rows:
            for name in row:
                _known(name, _KEYS[key], where, f"field of [[{key}]]")
    markets = tuple(_market(row, where) for row in table.get("market", ()))
    regions = [region for market in markets for region in (market.regions or ("everybody else",))]
    twice = next((region for region in regions if regions.count(region) > 1), None)
    if twice:
        raise InputError(f"{where}: two markets are for {twice}. Keep one.")
    return Markets(markets, tuple(_rate(row, where) for row in table.get("rate", ())))


def _market(row: Mapping[str, Any], where: str) -> Market:
    regions = row.get("regions", [])
    if not isinstance(regions, list) or not all(isinstance(one, str) and re.fullmatch(r"[A-Z]{2}", one) for one in regions):
        raise InputError(f'{where}: regions are ISO 3166 codes such as ["DE", "FR"]; got {regions!r}.')
    prices = row.get("prices")
    if prices is not None:
        _known(prices, RULES, where, "price law")
    currency = row.get("currency")
    return Market(tuple(regions), None if currency is None else _currency(currency, where), prices)


def _rate(row: Mapping[str, Any], where: str) -> Rate:
    missing = sorted(_KEYS["rate"] - set(row))
    if missing:
        raise InputError(f"{where}: a [[rate]] lacks {', '.join(missing)}. It needs from, to, rate, at and until.")
    source, target = _currency(row["from"], where), _currency(row["to"], where)
    try:
        value = Decimal(row["rate"]) if isinstance(row["rate"], str | int) and not isinstance(row["rate"], bool) else Decimal("nan")
    except InvalidOperation:
        value = Decimal("nan")
    if not value.is_finite() or value <= 0:
        raise InputError(
            f'{where}: the rate {source} -> {target} must be a number above zero in quotes, such as "0.1284"; got {row["rate"]!r}.'
        )
    if not all(isinstance(row[name], datetime) for name in ("at", "until")):
        raise InputError(f"{where}: at and until of the rate {source} -> {target} must be times with a zone, such as 2026-03-01T00:00:00Z.")
    at, until = utc(row["at"], what="at"), utc(row["until"], what="until")
    if at >= until:
        raise InputError(f"{where}: the rate {source} -> {target} ends at {until}, which is not after its start {at}.")
    return Rate(source, target, value, at, until)


def _currency(code: object, where: str) -> str:
    _known(code, data("locales")["minor_digits"], where, "currency that can be written")
    return str(code)


def _known(value: object, allowed: Any, where: str, what: str) -> None:
    if value not in allowed:
        hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
        raise InputError(f"{where}: there is no {what} {value!r}.{hint} Allowed: {', '.join(sorted(allowed))}.")
