"""When customers answer: the share of messages answered by time of day, pooled customer <- segment <- all.

The profile's best hour says when a customer is active. Where messages were sent at different times, their answers say more: each slot of
three hours has a rate per customer, shrunk to that of the customer's stage and that to everybody's, as far as the data show
differences (``decide/_pooled.py``). Without proven differences the profile's hour stays.

When not to use: the hour of sending is not randomised, so that who was written to when may differ otherwise, too; and a slot in
which nobody was written to is never chosen.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.decide._pooled import pooled_rates
from tradewind.schema import Kind

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

SLOT = 3  # hours
FEWEST = 200  # messages, below which nothing is said
_SURE = 1.0


def answered(tables: Tables, people: pa.Table, *, as_of: datetime) -> tuple[np.ndarray, np.ndarray]:
    """Messages answered (opened or clicked) and sent, per customer of ``people`` and slot (UTC): two arrays (customers, slots)."""
    events = tables.events(as_of=as_of).filter(lambda t: t.decision_id.notnull() & t.customer.notnull())
    told = events.filter(events.kind.isin([str(Kind.SENT), str(Kind.OPEN), str(Kind.CLICK)]))
    rows = tables.to_arrow(told.select("customer", "kind", "at", "decision_id"))
    yes = pc.unique(rows.filter(pc.not_equal(rows["kind"], str(Kind.SENT)))["decision_id"])
    sent = rows.filter(pc.equal(rows["kind"], str(Kind.SENT)))
    who = pc.index_in(sent["customer"], value_set=people["customer"].combine_chunks()).fill_null(-1).to_numpy()
    slot = pc.hour(sent["at"]).to_numpy() // SLOT
    hit = pc.is_in(sent["decision_id"], value_set=yes).to_numpy()
    tries, hits = (np.zeros((people.num_rows, 24 // SLOT)) for _ in range(2))
    known = who >= 0
    np.add.at(tries, (who[known], slot[known]), 1.0)
    np.add.at(hits, (who[known], slot[known]), hit[known].astype(float))
    return hits, tries


def with_hours(people: pa.Table, hits: np.ndarray, tries: np.ndarray) -> pa.Table:
    """``people`` with the best hour that their answers prove; the profile's stays where no slot is better than another.

    A proven hour has the confidence 1; it is the middle of its slot.
    """
    if tries.sum() < FEWEST:
        return people
    segment = np.unique(np.array(people["stage"].fill_null("").to_pylist()), return_inverse=True)[1]
    rates = np.where(tries.sum(axis=0) > 0, pooled_rates(hits, tries, segment), -np.inf)
    best = rates.argmax(axis=1)
    finite = np.isfinite(rates)
    worst = np.where(finite, rates, np.inf).min(axis=1)
    proven = pa.array(rates.max(axis=1) > worst * (1 + 1e-9))
    found = {"best_hour": pa.array(SLOT * best + SLOT // 2), "hour_confidence": pa.array(np.full(len(best), _SURE))}
    for name, values in found.items():
        at = people.schema.get_field_index(name)
        kept = people[name].combine_chunks()
        people = people.set_column(at, people.schema.field(at), pc.if_else(proven, values.cast(kept.type), kept))
    return people
