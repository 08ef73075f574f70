"""What accounts used and did, per account: what rings are looked for in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._risk_log import CLAIM, LINKS, ORDER, REFUND, VIEW, Moments

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
HOUR, DAY = 3_600_000_000, 86_400_000_000  # microseconds
BURST, OPENED = HOUR, 3 * DAY  # claims, and new accounts, that come together
EVIDENCE = ("coupons", "burst", "opened", "returns")


class Accounts:
    """The accounts of a log; every array runs over ``names``, zero for accounts that only looked."""

    def __init__(self, moments: Moments) -> None:
        moments = moments.part((moments.action != VIEW) & (moments.code["customer"] >= 0))
        self.names, who = list(moments.names["customer"]), moments.code["customer"]
        self.count = len(self.names)
        with_coupon = moments.code["coupon"] >= 0
        ordered = moments.action == ORDER
        self.orders = self._tally(who[ordered])
        self.coupon_orders = self._tally(who[ordered & with_coupon])
        self.returns = self._tally(who[moments.action == REFUND])
        self.discount = np.bincount(who[ordered], weights=moments.discount[ordered & (who >= 0)], minlength=self.count).astype(np.int64)
        self.first, self.last = np.full(self.count, 2**62), np.full(self.count, -(2**62))
        np.minimum.at(self.first, who, moments.at)
        np.maximum.at(self.last, who, moments.at)
        self.users, self.used, self.kind = self._uses(moments, who)
        self._values = [value for key in LINKS for value in moments.names[key]]
        claim = (moments.action == CLAIM) & with_coupon
        self.claims = self._tally(who[claim])
        self.claim = np.stack([moments.code["coupon"][claim], moments.at[claim], who[claim]])
        self._near = _density(self.claim[0], self.claim[1], BURST)
        known = [moments.signed_up.get(name, -1) for name in self.names]
        self.opened = np.array(known, dtype=np.int64)
        dated = self.opened[(self.opened >= 0) & (self.first < 2**62)]
        self._crowd = float(np.mean(list(_density(np.zeros_like(dated), dated, OPENED).values()) or [0.0]))
        self._claims_of: dict[int, list[int]] = {}
        for place, name in enumerate(self.claim[2].tolist()):
            self._claims_of.setdefault(name, []).append(place)

    def _tally(self, who: Ints) -> Ints:
        return np.bincount(who, minlength=self.count)

    def _uses(self, moments: Moments, who: Ints) -> tuple[Ints, Ints, Ints]:
        """(account, identifier) once each, identifiers numbered over all kinds, and the kind of each identifier."""
        pairs, kinds, offset = [], [], 0
        for number, key in enumerate(LINKS):
            code = moments.code[key]
            there = code >= 0
            pairs.append(np.stack([who[there], code[there] + offset]))
            kinds.append(np.full(len(moments.names[key]), number))
            offset += len(moments.names[key])
        users, used = np.unique(np.concatenate(pairs, axis=1), axis=1)
        return users, used, np.concatenate(kinds)

    def evidence(self, members: Ints) -> dict[str, float]:
        """-log10 of the chance that as many accounts of the shop show so much, by kind of ``EVIDENCE``."""
        from scipy.stats import binom

        orders = int(self.orders[members].sum())
        found = {}
        for name, counts in (("coupons", self.coupon_orders), ("returns", self.returns)):
            base = min(1.0, float(counts.sum()) / max(int(self.orders.sum()), 1))
            found[name] = _strength(binom.sf(int(counts[members].sum()) - 1, orders, base))
        burst = 0.0
        places = np.array([place for one in members.tolist() for place in self._claims_of.get(one, ())], dtype=np.int64)
        for coupon in np.unique(self.claim[0, places]) if len(places) else ():
            mine = places[self.claim[0, places] == coupon]
            together = _together(self.claim[1, mine], BURST)
            burst += _strength(binom.sf(together - 2, len(mine) - 1, self._near[int(coupon)])) if together > 1 else 0.0
        found["burst"] = burst
        dated = self.opened[members][self.opened[members] >= 0]
        together = _together(dated, OPENED)
        found["opened"] = _strength(binom.sf(together - 2, len(dated) - 1, self._crowd)) if together > 1 else 0.0
        return {name: found[name] for name in EVIDENCE}

    def shared(self, members: Ints) -> dict[str, int]:
        """How many identifiers of each kind two or more members use."""
        both = self._both(members)
        return {key: int((self.kind[both] == number).sum()) for number, key in enumerate(LINKS)}

    def named(self, members: Ints) -> list[tuple[str, str]]:
        """(kind, value) of the same identifiers, but not of those that most of their users are outside of the group: hubs."""
        everybody = np.bincount(self.used, minlength=len(self.kind))
        inside = np.bincount(self.used[np.isin(self.users, members)], minlength=len(self.kind))
        return [(LINKS[self.kind[one]], self._values[one]) for one in self._both(members) if 2 * inside[one] > everybody[one]]

    def _both(self, members: Ints) -> Ints:
        return np.flatnonzero(np.bincount(self.used[np.isin(self.users, members)], minlength=len(self.kind)) >= 2)


def _strength(chance: float) -> float:
    return float(max(0.0, -np.log10(max(chance, 1e-300))))


def _density(group: Ints, at: Ints, width: int) -> dict[int, float]:
    """Per group: of the other members of the group, the share that lies within ``width`` of one, on average."""
    found = {}
    for number in np.unique(group).tolist():
        times = np.sort(at[group == number])
        near = np.searchsorted(times, times + width, side="right") - np.searchsorted(times, times - width, side="left") - 1
        found[number] = float(near.mean() / max(len(times) - 1, 1))
    return found


def _together(at: Ints, width: int) -> int:
    """The most that lie within one window of ``width``."""
    times = np.sort(at)
    return int((np.searchsorted(times, times + width, side="right") - np.arange(len(times))).max(initial=0))
