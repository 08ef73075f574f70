"""Views and clicks that no person made, found in the log: what is left trains models and is counted when a campaign is measured.

``deliver/feedback_clicks.py`` judges a visit of a tracked link by its request, before it becomes an event; the rule ``bots`` of
``collect`` flags visits while they are loaded. This is the third look, over the whole log, for what both let through: machines that
are neither very fast nor very regular, and scanners with a person's browser.

============  ======================================================================================================
``fast``      a visit of ``VIEWS`` views or more with less than ``FAST`` seconds between them on average
``regular``   such a visit whose gaps spread by less than ``REGULAR`` of their mean
``restless``  such a visit in which nine of ten gaps are under ``RESTLESS`` seconds, most not nought: people stop and read
``burst``     clicks on ``LINKS`` different messages within ``BURST`` seconds: scanners empty a mailbox at once
``hasty``     a click less than ``HASTY`` seconds after its message was handed off
============  ======================================================================================================

``tradewind risk machines`` publishes what it finds; from then on ``tradewind learn`` reads the log without those customers.

A customer with a machine's visit, or with two bursts, is a machine, and all of its events go; of other customers only the burst or
hasty clicks go. A visit ends with a pause of half an hour. What this cannot see: a machine that looks at few pages, slowly.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.collect.studied import studied
from tradewind.learn.registry import active, learned, publish
from tradewind.schema import Kind
from tradewind.types import Section

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.engine.tables import Tables

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NAME, FILE = "machines", "machines.json"  # in the registry
SECOND = 1_000_000  # microseconds
PAUSE = 1800 * SECOND
VIEWS, FAST, REGULAR, RESTLESS = 20, 1.0, 0.1, 10.0
LINKS, BURST, HASTY = 3, 5.0, 1.0
BURSTS = 2  # that make a machine


@dataclass(frozen=True)
class Machines:
    """What was found: ``visitors`` (customer, or session of nobody known, -> rule), ``clicks`` (event id -> rule)."""

    visitors: dict[str, str]
    clicks: dict[str, str]

    @property
    def customers(self) -> frozenset[str]:
        """The customers among the visitors."""
        return frozenset(name.removeprefix("c:") for name in self.visitors if name.startswith("c:"))

    def clean(self, events: pa.Table) -> pa.Table:
        """``events`` without those of machines, and without the clicks that machines made for people."""
        gone = pc.is_in(_visitor(events), value_set=pa.array(sorted(self.visitors), pa.string()))
        clicked = pc.is_in(events["id"], value_set=pa.array(sorted(self.clicks), pa.string()))
        return events.filter(pc.invert(pc.or_(gone, clicked)))


def machines(events: pa.Table) -> Machines:
    """Judge rows of ``schema.EVENTS``; any order."""
    found = _visits(events.filter(pc.equal(events["kind"], str(Kind.VIEW))))
    clicks = events.filter(pc.and_(pc.equal(events["kind"], str(Kind.CLICK)), pc.is_valid(events["customer"])))
    bad, bursts = _clicks(clicks, events.filter(pc.equal(events["kind"], str(Kind.SENT))))
    found |= {f"c:{name}": "burst" for name, count in bursts.items() if count >= BURSTS and f"c:{name}" not in found}
    return Machines(found, bad)


def _visitor(events: pa.Table) -> pa.ChunkedArray:
    """The customer as "c:...", else the session as "s:...", else null."""
    known = pc.binary_join_element_wise(pa.scalar("c:"), events["customer"], "")
    return pc.coalesce(known, pc.binary_join_element_wise(pa.scalar("s:"), events["session"], ""))


def _visits(views: pa.Table) -> dict[str, str]:
    who = _visitor(views)
    views, who = views.filter(who.is_valid()), who.drop_null()
    if not len(who):
        return {}
    encoded = who.combine_chunks().dictionary_encode()
    code, at = encoded.indices.to_numpy().astype(np.int64), _micros(views["at"])
    order = np.lexsort((at, code))
    code, at = code[order], at[order]
    gap = np.diff(at, prepend=at[0])
    fresh = np.r_[True, (np.diff(code) != 0)] | (gap >= PAUSE)
    visit = np.cumsum(fresh) - 1
    seconds = gap[~fresh] / SECOND
    inside = visit[~fresh]
    count = np.bincount(visit)
    steps = np.maximum(count - 1, 1)
    mean = np.bincount(inside, weights=seconds, minlength=len(count)) / steps
    spread = np.sqrt(np.maximum(np.bincount(inside, weights=(seconds - mean[inside]) ** 2, minlength=len(count)) / steps, 0.0))
    short = np.bincount(inside, weights=seconds < RESTLESS, minlength=len(count)) / steps
    nought = np.bincount(inside, weights=seconds == 0, minlength=len(count)) / steps
    long = (count >= VIEWS) & (mean > 0)  # equal times are those of a log that rounds
    rules = (("restless", (short >= 0.9) & (nought < 0.5)), ("regular", spread < REGULAR * mean), ("fast", mean < FAST))
    names = encoded.dictionary.to_pylist()
    owner = code[np.flatnonzero(fresh)]
    return {names[owner[one]]: rule for rule, holds in rules for one in np.flatnonzero(long & holds).tolist()}


def _clicks(clicks: pa.Table, sent: pa.Table) -> tuple[dict[str, str], dict[str, int]]:
    """Event id -> rule of clicks that no person made, and how many bursts each customer had."""
    if not clicks.num_rows:
        return {}, {}
    handed = dict(zip(sent["decision_id"].to_pylist(), _micros(sent["at"]).tolist(), strict=True))
    rows = zip(*(clicks[name].to_pylist() for name in ("customer", "id", "decision_id")), _micros(clicks["at"]).tolist(), strict=True)
    bad: dict[str, str] = {}
    bursts: dict[str, int] = {}
    window: list[tuple[str, str, str | None, int]] = []
    running = False
    for row in sorted(rows, key=lambda each: (each[0], each[3], each[1])):
        customer, name, decision, at = row
        window = [one for one in window if one[0] == customer and at - one[3] <= BURST * SECOND] + [row]
        if decision is not None and 0 <= at - handed.get(decision, -PAUSE) < HASTY * SECOND:
            bad[name] = "hasty"
        if len({one[2] for one in window}) >= LINKS:
            bad |= {one[1]: "burst" for one in window}
            bursts[customer] = bursts.get(customer, 0) + (not running)
            running = True
        elif len(window) == 1:
            running = False
    return bad, bursts


def _micros(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy())


def learn(home: Home, *, as_of: datetime, now: datetime) -> Machines:
    """Judge what was viewed, sent and clicked before ``as_of`` and make the answer the active one."""
    events = home.tables.events(as_of=as_of)
    seen = events.filter(events.kind.isin([str(Kind.VIEW), str(Kind.CLICK), str(Kind.SENT)]))
    found = machines(home.tables.to_arrow(seen.select("id", "at", "customer", "session", "kind", "decision_id")))
    text = json.dumps(asdict(found), ensure_ascii=False, sort_keys=True)
    card = {"customers": len(found.customers), "clicks": len(found.clicks)}
    publish(home, NAME, lambda path: _write(path, text), as_of=as_of, card=card, now=now)
    return found


def loaded(home: Home, *, before: datetime | None = None) -> Machines:
    """The machines that were published; raises StateError where none were, or only later than ``before``."""
    return Machines(**json.loads((active(home, NAME, before=before).path / FILE).read_text(encoding="utf-8")))


def of_people(home: Home, *, as_of: datetime) -> tuple[Tables, list[Section]]:
    """What learning reads, without the customers that were published as machines before ``as_of``, and a sentence about them."""
    tables, title = studied(home), "Machines in the log"
    if not learned(home, NAME):
        return tables, []
    if active(home, NAME).as_of > as_of:
        return tables, [Section(title, ("They were looked for later than this learning ends, so that nobody was left out.",))]
    gone = loaded(home).customers
    return tables.without(gone), [Section(title, (f"{len(gone):,} customers that are machines were left out (tradewind risk machines).",))]


def _write(path: Path, text: str) -> None:
    (path / FILE).write_text(text, encoding="utf-8")
