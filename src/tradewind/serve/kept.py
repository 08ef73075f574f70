"""Answers that take seconds, kept while the shop's tables stay as they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import TypeVar, cast

from sqlalchemy import func, select

from tradewind.asked import span
from tradewind.decide.plan import Plan
from tradewind.engine.ledger import manifest, plans
from tradewind.serve.state import Serving
from tradewind.shop import Shop

T = TypeVar("T")
MANY = 64  # answers
PLANS = 2  # that stay in memory: one of a million customers takes a gigabyte
LONG = timedelta(minutes=1)  # deliveries and consents change more than tables


def kept(held: Serving, key: Hashable, make: Callable[[Shop], T]) -> T:
    """What ``make`` gives for the open shop: the same for :data:`LONG`, unless files were committed since. Callers do not change it."""
    with held.use() as shop:
        known: OrderedDict[Hashable, tuple[object, datetime, object]] = held.parts.setdefault("kept", OrderedDict())
        with shop.home.ledger.read() as conn:
            state = tuple(conn.execute(select(func.count(), func.max(manifest.c.committed_at)).select_from(manifest)).one())
        now, found = shop.now(), known.pop(key, None)
        if found is None or found[0] != state or not found[1] <= now < found[1] + LONG:
            found = (state, now, make(shop))
        known[key] = found
        if len(known) > MANY:
            known.popitem(last=False)
        return cast("T", found[2])


def newest(shop: Shop) -> datetime:
    """The moment just after the last event in the tables. Raises StateError where there is none."""
    return span(shop.home)[1] + timedelta(microseconds=1)


def forget(held: Serving) -> None:
    """Keep nothing any more: somebody was erased."""
    held.parts.pop("kept", None)
    held.parts.pop("plans", None)


def plan(held: Serving, plan_id: str) -> Plan:
    """A committed plan by its id or the beginning of it; read once while its file stays the same (an erasure writes it anew)."""
    with held.use() as shop:
        known: OrderedDict[str, tuple[str, Plan]] = held.parts.setdefault("plans", OrderedDict())
        with shop.home.ledger.read() as conn:
            digest = conn.execute(select(plans.c.sha256).where(plans.c.plan_id == plan_id)).scalar()
        found = known.pop(plan_id, None)
        if found is None or found[0] != digest:
            one = shop.plan(plan_id)
            found = (digest or "", one)
        if digest is not None:
            known[plan_id] = found
        if len(known) > PLANS:
            known.popitem(last=False)
        return found[1]
