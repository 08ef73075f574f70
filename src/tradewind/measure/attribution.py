"""Attribution for a shop: who stood on the way to its purchases, beside what the holdout says was caused.

A touch is a message that was sent, or clicked, on a channel, or a visit of the shop (one for each session; the session of the
purchase itself is no touch). A path holds the touches of a customer since the purchase before, at most ``lookback_days`` old; what no
purchase follows by the end is a lost path.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind.decide.plan import Plan
from tradewind.engine.home import Home
from tradewind.engine.tables import Tables
from tradewind.errors import InputError
from tradewind.measure.profit import sample
from tradewind.stats import randomised
from tradewind.stats.attribution import Paths, last_touch, markov, position_based, shapley
from tradewind.types import Estimate, Report, Section

VISIT = "visit"
_VISITS = ("view", "search", "cart", "wish", "checkout")
_MESSAGES = ("sent", "click")
_LONGEST = 20  # touches of a path that are kept, the newest
NOT_CAUSE = (
    "This describes who stood on the way to purchases. It is not what caused them: customers who would have bought anyway are touched, "
    "too, and every method here credits their touches."
)


def attribution(home: Home, plan: Plan | None, *, as_of: datetime, lookback_days: float = 30) -> Report:
    """Shares of the purchases before ``as_of`` by four methods; with a plan that has a holdout, the causal answer for each channel beside.

    Raises
    ------
    InputError
        ``lookback_days`` is not above 0.

    When not to use: to move money between channels. That is what holdouts are for.
    """
    if not lookback_days > 0:
        raise InputError(f"attribution: lookback_days must be above 0; got {lookback_days}.")
    paths = journeys(home.tables, as_of=as_of, lookback=timedelta(days=lookback_days))
    sections = [_described(paths, lookback_days)]
    if plan is not None:
        sections.append(_caused(home, plan, as_of=as_of))
    meta = {"shop": home.settings.name, "currency": home.settings.currency, "as_of": as_of.isoformat()}
    return Report("Who stood on the way to purchases", as_of, sections, home.settings.simulated, meta)


def journeys(tables: Tables, *, as_of: datetime, lookback: timedelta) -> Paths:
    """The paths of a shop's log before ``as_of``."""
    events = tables.events(as_of=as_of)
    events = events.filter(events.customer.notnull(), events.kind.isin([*_VISITS, *_MESSAGES, "purchase"]))
    found = tables.to_arrow(
        events.select("customer", "at", "kind", "channel", "session", "order_id").order_by(["customer", "at", "kind", "order_id"])
    )
    counts: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    _walk(found, counts, lookback)
    return Paths.of(list(counts), [won for won, _ in counts.values()], [lost for _, lost in counts.values()])


def _walk(found: pa.Table, counts: dict[tuple[str, ...], list[int]], lookback: timedelta) -> None:
    """One pass over the events in order of customer and time."""
    who: str | None = None
    touches: list[tuple[datetime, str, Any]] = []
    session: Any = None
    order: Any = None

    def lost() -> None:
        if touches:
            counts[tuple(name for _, name, _ in touches)[-_LONGEST:]][1] += 1

    columns = ("customer", "at", "kind", "channel", "session", "order_id")
    for customer, at, kind, channel, visit, order_id in zip(*(found[name].to_pylist() for name in columns), strict=True):
        if customer != who:
            lost()
            who, touches, session, order = customer, [], None, None
        if kind == "purchase":
            if order_id is not None and order_id == order:
                continue  # another line of the same order
            own = visit or at.date()
            recent = [name for when, name, mark in touches if at - when <= lookback and mark != own][-_LONGEST:]
            if recent:
                counts[tuple(recent)][0] += 1
            touches, order = [], order_id
        elif kind in _MESSAGES:
            touches.append((at, f"{channel or 'message'} {'clicked' if kind == 'click' else 'sent'}", None))
        elif (mark := visit or at.date()) != session:
            session = mark
            touches.append((at, VISIT, mark))
    lost()


def _described(paths: Paths, lookback_days: float) -> Section:
    title = "Described, not caused"
    if not paths.names or not paths.won.sum():
        return Section(title, ("No purchase was preceded by a touch, so there is nothing to share out.",))
    shares = {"last touch": last_touch(paths), "position": position_based(paths), "Markov": markov(paths), "Shapley": shapley(paths)}
    seen = np.array([sum(w for path, w in zip(paths.steps, paths.won, strict=True) if n in path) for n in range(len(paths.names))])
    order = np.argsort(-shares["Shapley"], kind="stable").tolist()
    rows = tuple(
        {
            "touch": paths.names[n],
            "purchases it preceded": int(seen[n]),
            **{name: round(float(each[n]), 2) for name, each in shares.items()},
        }
        for n in order
    )
    counted = (
        f"{paths.won.sum():,.0f} purchases after a touch in the {lookback_days:g} days before, {paths.lost.sum():,.0f} paths without one."
    )
    rules = "The four columns share the same purchases out by four rules; where they disagree, the data do not settle it."
    text = (NOT_CAUSE, f"{counted} {rules}")
    return Section(title, text, (), rows)


def _caused(home: Home, plan: Plan, *, as_of: datetime) -> Section:
    """Orders caused, by the channel that the plan chose (for the holdout: would have chosen), intention to treat."""
    found = sample(home, plan, as_of=as_of)
    channel = np.array([name or "" for name in plan.table["channel"].to_pylist()], dtype=object)
    values, short = [], []
    for name in sorted(set(channel[found.acted]) - {""}):
        rows = found.acted & (channel == name)
        arm, held = rows & found.treated, rows & ~found.treated
        if min(arm.sum(), held.sum()) < randomised.LEAST:
            short.append(name)
            continue
        each = randomised.difference(found.orders[arm], found.orders[held], name=f"orders caused by {name}")
        assert each.low is not None
        assert each.high is not None
        count = int(arm.sum())
        note = f"{count:,} treated, {int(held.sum()):,} held out"
        values.append(Estimate(each.name, each.value * count, each.low * count, each.high * count, each.level, each.n, "count", note))
    text = [f"What the holdout of plan {plan.plan_id[:8]} says: orders on top of those that would have come anyway, by channel."]
    if short:
        text.append(f"Too few treated or held-out customers to say anything of: {', '.join(short)}.")
    if not values:
        text.append("Without a holdout there is no causal answer. Plan with one (holdout=0.1).")
    return Section("Caused, by the holdout", tuple(text), tuple(values))
