"""Texts that are no messages: what ``tradewind compose --format`` prints for the items that a plan thinks most of.

Nothing is stored and nothing is sent: a person copies an ad, a post or a landing text where it belongs, or a host reads the script.
The facts are those of the moment of the command; their ``fresh_until`` says how long the text may be used.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from tradewind.compose import locales
from tradewind.compose.base import Brief
from tradewind.compose.facts import Facts, Storefront, gather, unsellable
from tradewind.compose.guard import Guard
from tradewind.compose.material import Material
from tradewind.compose.recipe import RECIPES
from tradewind.compose.script import WEIGHT, Line, Lot, Signal, perform
from tradewind.compose.writing import write
from tradewind.errors import InputError, unknown
from tradewind.types import NOTHING, Offer

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home

FORMATS = (*(name for name in RECIPES if not name.startswith("live.")), "live")


@dataclass(frozen=True, slots=True)
class Page:
    """One text: for which item and offer, its parts, until when it holds; or why there is none."""

    item: str
    offer: str | None
    parts: Mapping[str, str]
    fresh_until: datetime | None
    withheld: str | None = None

    def to_text(self) -> str:
        """The parts as lines for people."""
        head = f"[{self.item}{f' with {self.offer}' if self.offer else ''}]"
        if self.withheld:
            return f"{head} withheld: {self.withheld}"
        until = [f"  holds until {self.fresh_until:%Y-%m-%d %H:%M} UTC"] if self.fresh_until else []
        lines = [f"  {part}: {line}" for part, text in self.parts.items() if part != "html" for line in text.split("\n")]
        return "\n".join([head, *lines, *until])


@dataclass
class Desk:
    """What the texts of one plan are made of at one moment."""

    home: Home
    plan: Plan
    locale: str
    now: datetime
    shop_url: str | None = None

    @classmethod
    def open(cls, home: Home, plan: Plan, *, locale: str | None, now: datetime, shop_url: str | None = None) -> Desk:
        """Set it up; the shop's own language when ``locale`` is left out. Raises InputError for an unknown one."""
        own = "zh-CN" if home.settings.currency == "CNY" else "en"
        if locale is not None and locale not in locales.LOCALES:
            raise InputError(f'compose: there are no texts in "{locale}". Allowed: {", ".join(locales.LOCALES)}.')
        return cls(home, plan, locale or own, now, shop_url)

    def __post_init__(self) -> None:
        self.material = Material.read(self.home, self.plan, offers=None, now=self.now)
        settings = self.home.settings
        market = replace(self.material.markets.of(None), currency=None)
        self.store = Storefront(settings.name, settings.currency, self.shop_url, settings.zone, market)

    def best(self, limit: int) -> list[tuple[str, str | None, float]]:
        """Items by what the plan expects of them, each with the offer that it gets most often.

        Raises
        ------
        InputError
            The plan speaks of no item.
        """
        worth: dict[str, float] = defaultdict(float)
        offers: dict[str, dict[str | None, int]] = defaultdict(lambda: defaultdict(int))
        table = self.plan.table.filter(pc.not_equal(self.plan.table["action"], NOTHING)).select(["item", "offer", "value"])
        for row in table.to_pylist():
            if row["item"] is not None:
                worth[row["item"]] += max(row["value"], 0.0)
                offers[row["item"]][row["offer"]] += 1
        if not worth:
            raise InputError(
                f"Plan {self.plan.plan_id} speaks of no item, so there is nothing to write about. Decide with a product offer."
            )
        ranked = sorted(worth, key=lambda name: (-worth[name], name))[:limit]
        return [(name, min(offers[name], key=lambda o: (-offers[name][o], o or "")), worth[name]) for name in ranked]

    def facts(self, item: str | None, offer: str | None, at: datetime) -> tuple[Facts, Mapping[str, Any] | None, Offer | None]:
        """Facts, catalogue row and offer of an item (None: of the shop alone) for a moment."""
        row, given = self.material.items.get(item), self.material.offers.get(offer)
        told = gather(
            row,
            offer=given,
            store=self.store,
            locale=self.locale,
            zone=self.home.settings.zone,
            at=at,
            proof=self.material.proofs.get(item),
            history=self.material.histories.get(item or ""),
        )
        return told, row, given


def pages(desk: Desk, form: str, *, limit: int = 5, seed: int = 0) -> list[Page]:
    """Write one text of a format for each of the plan's best items.

    Raises
    ------
    InputError
        The format is unknown, or the plan speaks of no item.
    """
    if form not in FORMATS or form == "live":
        raise unknown("format", form, FORMATS)
    guard, found = Guard(), []
    for item, offer, _ in desk.best(limit):
        known, row, given = desk.facts(item, offer, desk.now)
        why = unsellable(row, given, send_at=desk.now) if row is not None else "the item is not in the catalogue"
        if why:
            found.append(Page(item, offer, {}, None, why))
            continue
        text = write(Brief(f"{item}|{form}", form, desk.locale), facts=known, seed=seed, at=desk.now, guard=guard)
        found.append(Page(item, offer, text.parts, text.fresh_until, text.withheld))
    return found


def script(desk: Desk, *, minutes: float, signals: Sequence[Signal] = (), limit: int = 8, seed: int = 0) -> tuple[Line, ...]:
    """Write the script of a live stream that starts now about the plan's best items."""
    best = desk.best(limit)
    offers = {item: offer for item, offer, _ in best}
    lots = []
    for item, offer, worth in best:
        known, _, _ = desk.facts(item, offer, desk.now)
        lots.append(Lot(item, max(worth, 1e-9), ends="deadline" in known.facts or "low_stock" in known.flags))

    def told(item: str | None, at: datetime) -> tuple[Facts, Mapping[str, object] | None, Offer | None]:
        known, row, given = desk.facts(item, offers[item] if item is not None else None, at)
        return known, row if item is None or row is not None else {"stock": 0}, given

    settings = desk.home.settings
    return perform(lots, minutes=minutes, start=desk.now, facts=told, zone=settings.zone, signals=signals, seed=seed)


def script_text(lines: Sequence[Line]) -> str:
    """The script as lines for people: when, what about, what is said; the label of the screen first."""
    shown = [f"On screen throughout: {lines[0].label}"] if lines and lines[0].label else []
    for line in lines:
        minute, second = divmod(line.segment.start, 60)
        head = f"{minute:02d}:{second:02d} {line.segment.kind}{f' [{line.segment.item}]' if line.segment.item else ''}"
        shown.append(f"{head} (skipped: {line.withheld})" if line.withheld else f"{head}\n      {line.speech}")
    return "\n".join(shown)


def read_signals(path: Path) -> list[Signal]:
    """Read the room's signals: CSV with the columns second, item, kind (click, comment, purchase) and count.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, or has a value that is not allowed; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a CSV file with the columns second, item, kind, count.") from error
    signals = []
    for number, row in enumerate(rows, start=2):
        try:
            signal = Signal(float(row["second"]), row["item"], row["kind"], int(row["count"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}, line {number}: {error}. Every line needs second, item, kind, count, such as 95,mug-1,click,3."
            ) from error
        if signal.kind not in WEIGHT:
            raise InputError(f'{path}, line {number}: there is no kind of signal "{signal.kind}". Allowed: {", ".join(sorted(WEIGHT))}.')
        signals.append(signal)
    return signals


def print_format(
    home: Home, plan: Plan, form: str, *, locale: str | None, now: datetime, minutes: float = 30, signals: Path | None = None
) -> tuple[dict[str, Any], str]:
    """Return what the command prints: one object for machines, and lines for people."""
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if signals is not None and form != "live":
        raise InputError("--signals are for --format live: they say what a live room did.")
    desk = Desk.open(home, plan, locale=locale, now=now, shop_url=home.settings.url)
    if form == "live":
        lines = script(desk, minutes=minutes, signals=read_signals(signals) if signals else ())
        rows = [
            {**asdict(line.segment), "speech": line.speech, "label": line.label, "withheld": line.withheld, "components": line.components}
            for line in lines
        ]
        return {"format": form, "locale": desk.locale, "segments": rows}, script_text(lines)
    found = pages(desk, form)
    told = [
        {
            "item": p.item,
            "offer": p.offer,
            "parts": dict(p.parts),
            "withheld": p.withheld,
            "fresh_until": p.fresh_until and p.fresh_until.isoformat(),
        }
        for p in found
    ]
    return {"format": form, "locale": desk.locale, "texts": told}, "\n\n".join(page.to_text() for page in found)
