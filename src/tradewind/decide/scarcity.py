"""What there is not enough of: pieces of an item, pieces of an offer; and groups that must not be left out.

**Stock.** A plan promotes an item with n pieces left to at most n customers, whoever buys it or not (the conservative reading: a
reservation is a piece). Before the draw the item stays a candidate of the customers from whom it promises the most, until
its expected number of draws plus ``reserve_z`` standard deviations is n; the others lose the candidate with the reason
``stock_reach``. The cut depends on the request alone, so that propensities stay exact. What the draw still takes too often
becomes "nothing" (``stock_full``) in an order set by hash.

**Exposure floors.** Of the customers who are expected to get something, at least the declared share is of the group. Each
floor has a price b in the score, ``b (1[of the group] - floor)`` for every action of a customer, which is the Lagrangian of
the constraint; it is logged, and part of the logged scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow.compute as pc

from tradewind.decide.eligibility import CODE, UNLIMITED, pieces
from tradewind.decide.hashing import uniforms
from tradewind.decide.request import Request
from tradewind.errors import InputError
from tradewind.stats.allocate import bisect

if TYPE_CHECKING:
    from tradewind.decide.candidates import Candidates
    from tradewind.decide.scene import Scene

P = TypeVar("P")
TOLERANCE = 0.005  # of an exposure floor: shares are met to half a point
_ROUNDS = 8


@dataclass(frozen=True)
class Stock:
    """Pieces per item and per offer of a request; ``UNLIMITED`` where nothing is known."""

    items: np.ndarray
    offers: np.ndarray

    @classmethod
    def of(cls, request: Request) -> Stock:
        """Read the column ``stock`` of the items and the term ``stock`` of the offers, less what is promised."""
        offers = [
            max(int(one.terms["stock"]) - request.promised.get(f"offer:{one.offer}", 0), 0) if "stock" in one.terms else UNLIMITED
            for one in request.offers
        ]
        return cls(pieces(request), np.array(offers, dtype=np.int64))

    def kinds(self, found: Candidates) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Name, pieces, and which thing every slot takes (-1: none)."""
        return [
            ("item", self.items, np.where(found.valid, found.item, -1)),
            ("offer", self.offers, np.where(found.valid, found.offer, -1)),
        ]


def key(request: Request, kind: str, number: int) -> str:
    """How the log and the ledger name a thing: ``item:SKU`` or ``offer:ID``."""
    return f"{kind}:{request.items['item'][number].as_py() if kind == 'item' else request.offers[number].offer}"


@dataclass(frozen=True)
class Reach:
    """Who keeps what is scarce: expected profit and tie-break of the last customer who does, per item and per offer.

    Where nothing is scarce the profit is minus infinity.
    """

    profit: Mapping[str, np.ndarray]
    luck: Mapping[str, np.ndarray]

    @classmethod
    def none(cls, request: Request) -> Reach:
        """Everybody keeps everything."""
        sizes = {"item": request.items.num_rows, "offer": len(request.offers)}
        profit = {kind: np.full(size, -np.inf) for kind, size in sizes.items()}
        return cls(profit, {kind: np.ones(size) for kind, size in sizes.items()})

    @classmethod
    def read(cls, request: Request, logged: Mapping[str, list[float]]) -> Reach:
        """From the meta of a plan; what is no longer for sale is left out."""
        found = cls.none(request)
        if logged:
            places = {f"item:{name}": number for number, name in enumerate(request.items["item"].to_pylist())}
            places |= {f"offer:{one.offer}": number for number, one in enumerate(request.offers)}
            for name, (profit, luck) in logged.items():
                if name not in places:
                    continue
                kind = name.partition(":")[0]
                found.profit[kind][places[name]], found.luck[kind][places[name]] = profit, luck
        return found

    def logged(self, request: Request) -> dict[str, list[float]]:
        """For the meta of a plan."""
        return {
            key(request, kind, int(number)): [float(profit[number]), float(self.luck[kind][number])]
            for kind, profit in self.profit.items()
            for number in np.flatnonzero(np.isfinite(profit))
        }


def scarce(found: Candidates, stock: Stock, treat: np.ndarray) -> bool:
    """Whether anything has more candidates than pieces."""
    for _, left, taken in stock.kinds(found):
        held = taken[treat]
        if (np.bincount(held[held >= 0], minlength=len(left)) > left).any():
            return True
    return False


def cut(found: Candidates, request: Request, stock: Stock, ids: list[str], chances: np.ndarray, treat: np.ndarray) -> Reach:
    """Who keeps what is scarce when customers are drawn with ``chances``; see the module."""
    reach = Reach.none(request)
    luck = uniforms(request.seed, ids, purpose="stock")
    for kind, left, taken in stock.kinds(found):
        rows, slots = np.nonzero((taken >= 0) & treat[:, None])
        if not len(rows):
            continue
        pairs, pair = np.unique(taken[rows, slots] * len(ids) + rows, return_inverse=True)
        thing, who = pairs // len(ids), pairs % len(ids)
        chance = np.bincount(pair, weights=chances[rows, slots + 1])
        profit = np.full(len(pairs), -np.inf)
        np.maximum.at(profit, pair, (found.value - found.cost)[rows, slots])
        order = np.lexsort((luck[who], -profit, thing))
        thing, who, chance, profit = thing[order], who[order], chance[order], profit[order]
        first = np.flatnonzero(np.diff(thing, prepend=-1))
        size = np.diff(np.append(first, len(thing)))
        within = np.repeat(first, size)

        def summed(each: np.ndarray, within: np.ndarray = within) -> np.ndarray:
            total = np.cumsum(each)
            return np.asarray(total - total[within] + each[within])

        sure = summed(chance) + request.reserve_z * np.sqrt(np.maximum(summed(chance * (1 - chance)), 0.0)) <= left[thing]
        kept = np.maximum(np.add.reduceat(sure, first, dtype=np.int64), left[thing[first]])
        for at in np.flatnonzero((kept < size) & (kept > 0)):
            last = first[at] + kept[at] - 1
            reach.profit[kind][thing[last]], reach.luck[kind][thing[last]] = profit[last], luck[who[last]]
    return reach


def beyond(found: Candidates, request: Request, ids: list[str], reach: Reach) -> Candidates:
    """Drop the candidates that ``reach`` leaves to others; a customer keeps all ways to a thing, or none."""
    luck = uniforms(request.seed, ids, purpose="stock")[:, None]
    profit = found.value - found.cost
    lost = np.zeros(found.valid.shape, dtype=bool)
    for kind, taken in (("item", found.item), ("offer", found.offer)):
        if not np.isfinite(reach.profit[kind]).any():
            continue
        at = np.maximum(taken, 0)
        last = np.where(found.valid & (taken >= 0), reach.profit[kind][at], -np.inf)
        same = (taken[:, :, None] == taken[:, None, :]) & found.valid[:, None, :]
        best = np.where(same, profit[:, None, :], -np.inf).max(axis=2)
        lost |= found.valid & ((best < last) | ((best == last) & (luck > reach.luck[kind][at])))
    return found.without(lost, CODE["stock_reach"])


def overdrawn(found: Candidates, stock: Stock, drawn: np.ndarray, acting: np.ndarray) -> np.ndarray:
    """Which of the customers ``acting``, in this order, come too late for a piece; bool."""
    late = np.zeros(len(acting), dtype=bool)
    slot = drawn[acting] - 1
    for _, left, taken in stock.kinds(found):
        used: dict[int, int] = {}
        for at, number in enumerate(taken[acting, slot].tolist()):
            if number >= 0 and left[number] < UNLIMITED and not late[at]:
                used[number] = used.get(number, 0) + 1
                late[at] = used[number] > left[number]
    return late


def promised(found: Candidates, seen: Scene, drawn: np.ndarray, acting: np.ndarray) -> dict[str, int]:
    """Pieces that are there, by key, of everything limited that the customers ``acting`` are promised: what a commit checks."""
    told = {}
    for kind, left, taken in seen.shelf.stock.kinds(found):
        for number in np.unique(taken[acting, drawn[acting] - 1]):
            if number >= 0 and left[number] < UNLIMITED:
                name = key(seen.request, kind, int(number))
                told[name] = int(left[number]) + seen.request.promised.get(name, 0)
    return told


def groups(request: Request, seen: Scene) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names and floors of the declared groups, and which group each customer is of (-1: none).

    Raises
    ------
    InputError
        The profiles lack the column.
    """
    assert request.exposure is not None
    names = sorted(request.exposure.floors)
    floors = np.array([request.exposure.floors[name] for name in names], dtype=np.float64)
    column = request.exposure.column
    if column not in seen.profiles.column_names:
        raise InputError(f'Exposure: the profiles have no column "{column}". Got: {", ".join(seen.profiles.column_names)}.')
    told = pc.cast(seen.profiles[column], "string").to_pylist()
    place = {name: at for at, name in enumerate(names)}
    return names, floors, np.array([place.get(name, -1) for name in told], dtype=np.int64)


def bonus(seen: Scene, prices: Mapping[str, float]) -> np.ndarray | None:
    """What the exposure prices add to every action of a customer; float64 (customers), None without exposure floors."""
    if seen.request.exposure is None or not prices:
        return None
    names, floors, group = groups(seen.request, seen)
    price = np.array([prices[name] for name in names])
    return np.where(group >= 0, price[np.maximum(group, 0)], 0.0) - float((price * floors).sum())


def expose(
    seen: Scene,
    treat: np.ndarray,
    *,
    reprice: Callable[[np.ndarray], P],
    treated: Callable[[np.ndarray, P], np.ndarray],
) -> tuple[dict[str, float], P, dict[str, Any]]:
    """Prices of the exposure floors, the prices of everything else with them, and what was reached.

    ``reprice`` gives the others' prices at a bonus; ``treated`` every customer's chance of an action at a bonus and those prices.

    Raises
    ------
    InputError
        A floor cannot be met, and by how much; or the floors contradict each other.
    """
    names, floors, group = groups(seen.request, seen)
    prices = np.zeros(len(names))

    def added(prices: np.ndarray) -> np.ndarray:
        return np.where(group >= 0, prices[np.maximum(group, 0)], 0.0) - float((prices * floors).sum())

    def shares(prices: np.ndarray, price: P) -> np.ndarray:
        chance = treated(added(prices), price) * treat
        total = float(chance.sum())
        found = np.bincount(group[group >= 0], weights=chance[group >= 0], minlength=len(names))
        return found / total if total > 0 else floors.copy()

    price = reprice(added(prices))
    most = 1e6 * seen.shelf.unit
    for _ in range(_ROUNDS):
        reached = shares(prices, price)
        short = np.flatnonzero(reached < floors - TOLERANCE / 5)
        if not len(short):
            break
        for at in short:

            def missing(one: float, at: int = int(at), price: P = price) -> float:
                trial = prices.copy()
                trial[at] = one
                return float(floors[at] - shares(trial, price)[at])

            prices[at] = bisect(missing, target=0.0, low=1e-3, high=most)
        price = reprice(added(prices))
    reached = shares(prices, price)
    for name, floor, share in zip(names, floors, reached, strict=True):
        if share < floor - TOLERANCE:
            raise InputError(
                f'Exposure: at most {share:.1%} of those who get something can be of group "{name}", the floor is {floor:.1%}. '
                "Lower the floor, raise the budget, or open more offers and channels to the group."
            )
    return dict(zip(names, prices.tolist(), strict=True)), price, {
        name: {"floor": float(floor), "reached": float(share)} for name, floor, share in zip(names, floors, reached, strict=True)
    }  # fmt: skip
