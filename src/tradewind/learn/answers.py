"""How readily a customer answers messages: the probability that some message of the next weeks is clicked.

The share of one customer's own messages that were clicked is known from a handful; the rest of the profile says more: who looks
often and buys seldom, who used coupons, when the last visit was. A ridge logistic regression learns it from the profiles as they
were ``SPAN`` before the cut and from the clicks since then, among customers who were sent a message; nothing after the cut is used.

When not to use: to decide whom a message moves. It says who answers; :mod:`tradewind.decide.value` learns from randomised
decisions how much of an answer is worth money, and this probability is one of the things that it looks at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.errors import NotFound, SchemaError
from tradewind.learn._contacts import OF_CUSTOMER
from tradewind.learn._grains import time_us
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
