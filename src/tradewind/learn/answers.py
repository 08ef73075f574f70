"""How readily a customer answers messages: the probability that some message of the next weeks is clicked.

The share of one customer's own messages that were clicked is known from a handful; the rest of the profile says more: who looks
often and buys seldom, who used coupons, when the last visit was. A ridge logistic regression learns it from the profiles as they
were ``SPAN`` before the cut and from the clicks since then, among customers who were sent a message; nothing after the cut is used.

When not to use: to decide whom a message moves. It says who answers; :mod:`tradewind.decide.value` learns from randomised
decisions how much of an answer is worth money, and this probability is one of the things that it looks at.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.errors import NotFound, SchemaError
from tradewind.learn._contacts import OF_CUSTOMER
from tradewind.learn._grains import count_if, time_us
from tradewind.learn._linear import Linear, transform
from tradewind.learn.profiles import STAGES, profiles
from tradewind.schema import Kind
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

Values = NDArray[np.float64]
NAME = "answer_rate"  # the column that :meth:`Answers.added` adds to a profile
SPAN = timedelta(days=28)
RIPE = timedelta(days=14)  # after which a coupon that was not used counts as not used
PRIOR_MESSAGES = 20
SOON = timedelta(days=3)  # an order this soon after a click may have come of it
BEFORE = timedelta(days=28)  # what clickers ordered before the message says how many orders would have come anyway
PRIOR_CLICKS = 50
FEWEST = 30  # customers of either answer, below which nothing is learned


@dataclass(frozen=True)
class Answers:
    """A fitted model; :meth:`learn` makes one."""

    linear: Linear
    contacted: int  # customers that it learned from

    @classmethod
    def learn(cls, tables: Tables, *, as_of: datetime) -> Self | None:
        """Learn from the ``SPAN`` before ``as_of``; None where fewer than ``FEWEST`` customers clicked or did not."""
        since = as_of - SPAN
        sent, clicked = _who(tables, Kind.SENT, since, as_of), _who(tables, Kind.CLICK, since, as_of)
        before = profiles(tables, as_of=since)
        before = before.filter(pc.is_in(before["customer"], value_set=sent))
        answer = pc.is_in(before["customer"], value_set=clicked).to_numpy(zero_copy_only=False).astype(np.float64)
        if min(answer.sum(), len(answer) - answer.sum()) < FEWEST:
            return None
        return cls(Linear.fit(_matrix(before), answer), len(answer))

    def predict(self, people: pa.Table) -> Values:
        """Probability of a click per row of ``profiles``, float64 [N] in (0, 1)."""
        found: Values = 1 / (1 + np.exp(-self.linear.score(_matrix(people))))
        return found

    def added(self, people: pa.Table) -> pa.Table:
        """``people`` with the column ``answer_rate``."""
        return people.append_column(NAME, pa.array(self.predict(people)))

    def save(self, path: Path) -> None:
        """Write ``answers.json`` into the folder ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        about = {"features": _names(), "contacted": self.contacted, "linear": self.linear.to_json()}
        (path / "answers.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`.

        Raises
        ------
        NotFound
            There is no saved model.
        SchemaError
            It was learned from other features than this version computes.
        """
        if not (path / "answers.json").is_file():
            raise NotFound(f"There is no model of answers in {path}. Learn one first.")
        about: dict[str, Any] = json.loads((path / "answers.json").read_text(encoding="utf-8"))
        if about["features"] != _names():
            raise SchemaError(f"The model of answers in {path} was learned from other features than this version computes. Learn it again.")
        return cls(Linear.from_json(about["linear"]), about["contacted"])


def redemptions(tables: Tables, *, as_of: datetime) -> dict[str, float]:
    """How often a message with an offer led to its redemption so far, by offer: share of the messages sent ``RIPE`` before ``as_of``.

    Each share is shrunk towards that of all such offers with the weight of ``PRIOR_MESSAGES``. Only offers that were redeemed at all are
    in it; messages and redemptions are joined by their ``decision_id``.
    """
    events = tables.events(as_of=as_of).filter(lambda t: t.decision_id.notnull() & t.offer.notnull())
    used = events.filter(events.kind == str(Kind.REDEEM)).select("decision_id").distinct().mutate(used=1)
    sent = events.filter((events.kind == str(Kind.SENT)) & (time_us(tables, events.at) < micros(as_of - RIPE)))
    joined = sent.select("decision_id", "offer").distinct().left_join(used, "decision_id")
    counts = tables.to_arrow(joined.group_by("offer").aggregate(sent=lambda t: t.count(), used=lambda t: t.used.count())).to_pylist()
    known = {row["offer"]: (row["used"], row["sent"]) for row in counts if row["used"]}
    total = sum(used for used, _ in known.values()) / max(sum(sent for _, sent in known.values()), 1)
    return {offer: (used + PRIOR_MESSAGES * total) / (sent + PRIOR_MESSAGES) for offer, (used, sent) in sorted(known.items())}


@dataclass(frozen=True)
class Followed:
    """What messages led to so far; empty where too little is known.

    ``orders``: orders a message beyond those that its clickers would have made anyway, by offer. ``channels``: the share of a channel's
    messages that were clicked over that of all.
    """

    orders: Mapping[str, float] = field(default_factory=dict)
    channels: Mapping[str, float] = field(default_factory=dict)


def followed(tables: Tables, *, as_of: datetime) -> Followed:
    """Count what came of the messages sent ``RIPE`` before ``as_of`` or earlier.

    The surrogate is the click (Athey et al. 2019, The surrogate index): what a message moves, it moves through an answer, and few
    answer, so orders after clicks are far less noisy than orders of everybody. From the orders within ``SOON`` after the first click those
    are taken off that the same customers made, per day, in the ``BEFORE`` before the message. Clickers may still have been about to buy, so
    this is where the value model begins (``decide/prior.py``), and randomised decisions correct it. Orders per click and clicks per message
    of an offer are shrunk to those of all offers with the weight of ``PRIOR_CLICKS`` and ``PRIOR_MESSAGES``.
    """
    events = tables.events(as_of=as_of).filter(lambda t: t.customer.notnull())
    events = events.mutate(us=time_us(tables, events.at))
    sent = events.filter((events.kind == str(Kind.SENT)) & (events.us < micros(as_of - RIPE)))
    sent = sent.filter(sent.offer.notnull() & sent.channel.notnull() & sent.decision_id.notnull())
    sent = sent.group_by("decision_id").aggregate(
        customer=sent.customer.min(), offer=sent.offer.min(), channel=sent.channel.min(), sent_us=sent.us.min()
    )
    clicks = events.filter((events.kind == str(Kind.CLICK)) & events.decision_id.notnull())
    clicks = clicks.group_by("decision_id").aggregate(us=clicks.us.min())
    messages = sent.left_join(clicks, "decision_id").select("customer", "offer", "channel", "sent_us", "us")
    bought = events.filter(events.kind == str(Kind.PURCHASE))
    orders = bought.select("customer", order_us=bought.us, order=bought.order_id.coalesce(bought.id)).distinct()
    pairs = messages.filter(messages.us.notnull()).join(orders, "customer")
    after = (pairs.order_us >= pairs.us) & (pairs.order_us < pairs.us + _us(SOON))
    before = (pairs.order_us >= pairs.sent_us - _us(BEFORE)) & (pairs.order_us < pairs.sent_us)
    bought_by = pairs.group_by("offer").aggregate(after=count_if(after), before=count_if(before))
    counts = messages.group_by("offer", "channel").aggregate(sent=messages.count(), clicked=messages.us.count())
    return _followed(tables.to_arrow(counts).to_pylist(), tables.to_arrow(bought_by).to_pylist())


def _followed(counts: Sequence[Mapping[str, Any]], orders: Sequence[Mapping[str, Any]]) -> Followed:
    """``counts``: offer, channel, sent, clicked; ``orders``: offer, after, before (of its clickers)."""
    sent, clicked = ({by: Counter[str]() for by in ("offer", "channel")} for _ in range(2))
    for row in counts:
        for by in ("offer", "channel"):
            sent[by][row[by]] += row["sent"]
            clicked[by][row[by]] += row["clicked"]
    clicks = clicked["offer"].total()
    if clicks < FEWEST:
        return Followed()
    extra = {row["offer"]: row["after"] - row["before"] * (SOON / BEFORE) for row in orders}
    rate, worth = clicks / sent["offer"].total(), sum(extra.values()) / clicks

    def answered(by: str, name: str) -> float:
        return float((clicked[by][name] + PRIOR_MESSAGES * rate) / (sent[by][name] + PRIOR_MESSAGES))

    def per_click(offer: str) -> float:
        return float((extra.get(offer, 0.0) + PRIOR_CLICKS * worth) / (clicked["offer"][offer] + PRIOR_CLICKS))

    return Followed(
        {offer: max(answered("offer", offer) * per_click(offer), 0.0) for offer in sorted(sent["offer"])},
        {channel: answered("channel", channel) / rate for channel in sorted(sent["channel"])},
    )


def _us(span: timedelta) -> int:
    return int(span / timedelta(microseconds=1))


def _names() -> list[str]:
    return [*OF_CUSTOMER, *(f"stage={name}" for name in STAGES)]


def _matrix(people: pa.Table) -> Values:
    numbers = np.column_stack([people[name].cast(pa.float64()).fill_null(np.nan).to_numpy() for name in OF_CUSTOMER])
    stages = np.column_stack([pc.equal(people["stage"], name).cast(pa.float64()).to_numpy() for name in STAGES])
    return np.column_stack([transform(numbers, OF_CUSTOMER), stages])


def _who(tables: Tables, kind: Kind, since: datetime, as_of: datetime) -> pa.Array:
    """The customers with an event of ``kind`` in [since, as_of)."""
    events = tables.events(as_of=as_of)
    wanted = (events.kind == str(kind)) & events.customer.notnull() & (time_us(tables, events.at) >= micros(since))
    found = tables.to_arrow(events.filter(wanted).select("customer").distinct())
    return found["customer"].combine_chunks()
