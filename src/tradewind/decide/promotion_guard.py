"""Coupons against abuse: how many a ring gets, how old an account must be, who gets none; asked when one is planned, claimed and used.

Off unless a policy asks for it with a table ``[promotion]`` in its limits; the rings are those that ``tradewind risk rings`` last
learned. An account that is in no ring yet but acts from a device, an address or a card of one counts as of that ring: farms open new
accounts faster than anybody learns rings. Every no has a code of ``eligibility.EXPLAIN``.

==============  ====================================================================================================
``blocked``     the customer is blocked
``cooling``     the account is younger than ``cooling_days``
``ring_cap``    the ring has had ``ring_coupons`` coupons (when used: of this coupon) in ``window_days``
==============  ====================================================================================================

Asking never changes anything; :meth:`Guard.note` does, and the caller notes what it lets happen. Two claims that are asked at
the same moment by two processes can both be let through: the cap bounds loss, it is no ledger. What stops is the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.learn.risk_rings import Known, mark, rings_of
from tradewind.params import Number, check
from tradewind.schema import Kind
from tradewind.types import Reason, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

OK = "ok"
COLUMN = "promotion"  # of a profile: why nothing that is worth money may be offered, null: it may
CLAIM, REDEEM = "claim", "redeem"
_NOBODY = Known({}, {})


@dataclass(frozen=True)
class Promotion:
    """The table ``[promotion]`` of a policy's limits; ``ring_coupons`` 0: members of rings get nothing that is worth money."""

    ring_coupons: int = 1
    window_days: float = 30.0
    cooling_days: float = 1.0

    def check(self) -> None:
        """Raise :class:`InputError` for a value that is out of its bounds."""
        days = Number(0, 3650)
        rules = {"ring_coupons": Number(0, 10**6, whole=True), "window_days": days, "cooling_days": days}
        check("limits: [promotion]", vars(self), rules)


@dataclass(frozen=True)
class Verdict:
    """Whether a coupon may be claimed or used; ``reason`` has the code, and the ring and counts it rests on."""

    allow: bool
    reason: Reason


class Guard:
    """Answers claims and redemptions one at a time; ``opened``: customer -> microseconds of opening the account, where known."""

    def __init__(
        self,
        promotion: Promotion,
        *,
        rings: Known = _NOBODY,
        blocked: AbstractSet[str] = frozenset(),
        opened: Mapping[str, int] | None = None,
    ) -> None:
        promotion.check()
        self._promotion, self._rings, self._blocked, self._opened = promotion, rings, blocked, dict(opened or {})
        self._had: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)

    @classmethod
    def of(cls, home: Home, promotion: Promotion, *, as_of: datetime) -> Guard:
        """The guard of a shop as it was before ``as_of``: its rings, blocked customers, and coupons of the window."""
        from tradewind.decide.known import blocked
        from tradewind.learn._risk_log import signups

        customers = home.tables.to_arrow(home.tables.get("customers").select("customer", "signed_up_at"))
        guard = cls(promotion, rings=rings_of(home, before=as_of), blocked=blocked(home), opened=signups(customers))
        for stage, customer, coupon, at in used(home, as_of=as_of, days=promotion.window_days):
            guard.note(stage, customer, coupon, at)
        return guard

    def claim(self, customer: str, coupon: str, *, at: datetime, **identifiers: str | None) -> Verdict:
        """May the customer have the coupon? ``identifiers``: ``device``, ``address``, ``card`` of the moment, where known."""
        return self._judge(CLAIM, customer, coupon, at, identifiers)

    def redeem(self, customer: str, coupon: str, *, at: datetime, **identifiers: str | None) -> Verdict:
        """May the customer use the coupon? A ring that claimed in time does not use more of one coupon than its cap."""
        return self._judge(REDEEM, customer, coupon, at, identifiers)

    def note(self, stage: str, customer: str, coupon: str, at: datetime, **identifiers: str | None) -> None:
        """Count a claim or a redemption that happened."""
        ring = self._ring(customer, identifiers)
        if ring is not None:
            self._had[stage, ring].append((micros(at), coupon))

    def _ring(self, customer: str, identifiers: Mapping[str, str | None]) -> str | None:
        near = (self._rings.marks.get(mark(kind, value)) for kind, value in identifiers.items() if value is not None)
        return self._rings.customers.get(customer) or next((ring for ring in near if ring is not None), None)

    def _judge(self, stage: str, customer: str, coupon: str, at: datetime, identifiers: Mapping[str, str | None]) -> Verdict:
        asked, rule = micros(at), self._promotion
        if customer in self._blocked:
            return Verdict(False, Reason("blocked"))
        age = (asked - self._opened[customer]) / timedelta(days=1).total_seconds() / 1e6 if customer in self._opened else None
        if age is not None and age < rule.cooling_days:
            return Verdict(False, Reason("cooling", {"days": age, "needed": rule.cooling_days}))
        ring = self._ring(customer, identifiers)
        if ring is not None:
            since = asked - round(rule.window_days * 86_400e6)
            had = sum(since <= when <= asked and (stage == CLAIM or which == coupon) for when, which in self._had[stage, ring])
            if had >= rule.ring_coupons:
                return Verdict(False, Reason("ring_cap", {"ring": ring, "had": had, "cap": rule.ring_coupons}))
        return Verdict(True, Reason(OK))


def used(home: Home, *, as_of: datetime, days: float) -> Iterable[tuple[str, str, str, datetime]]:
    """(stage, customer, coupon, at) of the claims and redemptions of the last ``days``; an order uses a coupon once."""
    kinds = {str(Kind.COUPON): CLAIM, str(Kind.REDEEM): REDEEM, str(Kind.PURCHASE): REDEEM}
    events = home.tables.events(as_of=as_of)
    mine = events.filter(
        events.kind.isin(list(kinds)) & events.offer.notnull() & events.customer.notnull() & (events.at >= as_of - timedelta(days=days))
    )
    rows = home.tables.to_arrow(mine.select("at", "id", "customer", "kind", "offer", "order_id").order_by("at", "id")).to_pylist()
    seen: set[tuple[str, str, str, str]] = set()
    for row in rows:
        key = (kinds[row["kind"]], row["customer"], row["offer"], row["order_id"] or row["id"])
        if key not in seen:
            seen.add(key)
            yield key[0], key[1], key[2], row["at"]


def marked(home: Home, profiles: pa.Table, promotion: Promotion | None, *, as_of: datetime) -> pa.Table:
    """``profiles`` with ``COLUMN`` where a policy asks for it: why a customer may be offered nothing that is worth money."""
    if promotion is None:
        return profiles
    promotion.check()
    rings = rings_of(home, before=as_of).customers
    had: dict[str, int] = defaultdict(int)
    for stage, customer, _, _ in used(home, as_of=as_of, days=promotion.window_days):
        had[rings.get(customer, "")] += stage == CLAIM
    return profiles.append_column(COLUMN, closed(profiles, promotion, rings=rings, had=had))


def closed(profiles: pa.Table, promotion: Promotion, *, rings: Mapping[str, str], had: Mapping[str, int]) -> pa.Array:
    """Per profile "cooling", "ring_cap" or null; what a ring may still get goes to its first members by name. ``had``: ring -> claims."""
    names = profiles["customer"].to_pylist()
    tenure = profiles["tenure_days"].cast(pa.float64()).fill_null(np.inf).to_pylist() if "tenure_days" in profiles.column_names else None
    left = {ring: promotion.ring_coupons - had.get(ring, 0) for ring in set(rings.values())}
    found: dict[str, str | None] = {}
    for row in sorted(range(len(names)), key=names.__getitem__):
        ring = rings.get(names[row])
        if tenure is not None and tenure[row] < promotion.cooling_days:
            found[names[row]] = "cooling"
        elif ring is not None and left[ring] <= 0:
            found[names[row]] = "ring_cap"
        elif ring is not None:
            left[ring] -= 1
    return pa.array([found.get(name) for name in names], pa.string())


def has(profiles: pa.Table, why: str) -> np.ndarray:
    """Which customers are marked with ``why``; bool, nobody where no policy asked for the guard."""
    if COLUMN not in profiles.column_names:
        return np.zeros(profiles.num_rows, dtype=bool)
    return np.asarray(pc.fill_null(pc.equal(profiles[COLUMN], why), False).to_numpy())
