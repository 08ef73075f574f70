"""Accounts that share a device, an address or a card, as they are known at a moment."""

from __future__ import annotations

from collections.abc import Mapping

from tradewind.learn._risk_log import LINKS, ORDER, REFUND, Moment

HUB = 10  # accounts; an identifier of more links nobody
LIMIT = 50  # accounts at which a component stops being counted
DAY = 86_400_000_000  # microseconds
GRAPH = ("component_customers", "neighbours", "neighbour_orders", "neighbour_coupon_share", "neighbour_refund_share", "neighbour_days")
_NAN = float("nan")
Link = tuple[str, str]


class Graph:
    """Who used what, grown moment by moment; adding is a set operation, so that the order of late moments does not matter."""

    def __init__(self) -> None:
        self._users: dict[Link, set[str]] = {}
        self._uses: dict[str, set[Link]] = {}
        self._seen: dict[str, list[int]] = {}  # first moment, orders, orders with a coupon, refunds

    def add(self, moment: Moment) -> None:
        """Take in an order, a claim or a refund."""
        name = moment.customer
        if name is None:
            return
        seen = self._seen.setdefault(name, [moment.at, 0, 0, 0])
        seen[0] = min(seen[0], moment.at)
        if moment.action == ORDER:
            seen[1] += 1
            seen[2] += moment.coupon is not None
        seen[3] += moment.action == REFUND
        for link in links(moment):
            self._users.setdefault(link, set()).add(name)
            self._uses.setdefault(name, set()).add(link)

    def since(self, moment: Moment, signed_up: Mapping[str, int]) -> float:
        """When the account was opened, or first seen where that is not known, microseconds; NaN without a customer."""
        if moment.customer is None:
            return _NAN
        first = self._seen.get(moment.customer)
        return float(min(signed_up.get(moment.customer, moment.at), moment.at if first is None else first[0]))

    def look(self, moment: Moment) -> dict[str, float]:
        """The values of ``GRAPH`` at a moment, which counts as a use of its own device, address and card."""
        own = moment.customer
        mine = self._uses.get(own, set()) if own is not None else set()
        near = self._others(mine.union(links(moment)), own)
        stats = [self._seen[name] for name in near]
        orders = sum(each[1] for each in stats)
        count = len(near)
        return {
            "component_customers": float(self._component(near, own)),
            "neighbours": float(count),
            "neighbour_orders": orders / count if count else _NAN,
            "neighbour_coupon_share": sum(each[2] for each in stats) / orders if orders else _NAN,
            "neighbour_refund_share": sum(each[3] for each in stats) / orders if orders else _NAN,
            "neighbour_days": (count * moment.at - sum(each[0] for each in stats)) / (count * DAY) if count else _NAN,
        }

    def _others(self, uses: set[Link], own: str | None) -> set[str]:
        """Accounts on identifiers that are no hubs once ``own`` uses them, without ``own``."""
        found: set[str] = set()
        for link in uses:
            users = self._users.get(link)
            if users is not None and len(users) + (own is not None and own not in users) <= HUB:
                found |= users
        found.discard(own)
        return found

    def _component(self, near: set[str], own: str | None) -> int:
        found = near | ({own} if own is not None else set())
        todo = list(near)
        while todo and len(found) < LIMIT:
            name = todo.pop()
            fresh = self._others(self._uses[name], name) - found
            found |= fresh
            todo.extend(fresh)
        return min(len(found), LIMIT)


def links(moment: Moment) -> list[Link]:
    """The identifiers of a moment that two accounts can share."""
    return [(key, value) for key in LINKS if (value := getattr(moment, key)) is not None]
