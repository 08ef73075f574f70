"""Sponsored slots on the shop's own pages: a quality-weighted generalised second-price auction with a reserve and a relevance floor.

Source: Edelman, Ostrovsky and Schwarz 2007, Internet advertising and the generalized second-price auction; Varian 2007, Position
auctions. With one slot it is the Vickrey auction, where bidding the true value is best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tradewind.errors import InputError


@dataclass(frozen=True, slots=True)
class Ad:
    """One seller's bid: at most ``bid`` minor units per click.

    ``quality`` is the predicted click rate in the first slot (0-1), ``relevance`` how well the ad fits the page or query (0-1), ``left``
    what the seller's paced budget has left (None: no limit).
    """

    ad: str
    seller: str
    bid: int
    quality: float
    relevance: float
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """An ad in a slot (0 is the first), and what its seller pays per click, in minor units."""

    slot: int
    ad: str
    seller: str
    price: int


def auction(ads: Iterable[Ad], *, slots: int, reserve: int = 1, relevance: float = 0.0) -> list[Placement]:
    """Fill up to ``slots`` slots by bid times quality; each pays the least bid that would have kept its slot.

    An ad takes part when its relevance is at least ``relevance`` and its bid, capped by what its seller has left, at least ``reserve``. A
    seller gets one slot at most, so that nobody raises the own price; of equal scores the first ad by name wins. Slots stay empty rather
    than hold what is not relevant.

    Raises
    ------
    InputError
        Slots or the reserve are negative, a share is outside 0-1, a bid or a budget is negative, or an ad is there twice.
    """
    given = list(ads)
    if slots < 0 or reserve < 0 or not 0 <= relevance <= 1:
        raise InputError(f"auction: slots and reserve must be 0 or more, relevance 0-1; got {slots}, {reserve}, {relevance}.")
    if len({each.ad for each in given}) < len(given):
        raise InputError("auction: every ad must be there once; an ad's name came twice.")
    for each in given:
        if each.bid < 0 or (each.left or 0) < 0 or not (0 <= each.quality <= 1 and 0 <= each.relevance <= 1):
            raise InputError(f'auction: ad "{each.ad}" needs a bid and a budget of 0 or more and quality and relevance of 0-1; got {each}.')
    bids = {each.ad: each.bid if each.left is None else min(each.bid, each.left) for each in given}
    able = [each for each in given if each.relevance >= relevance and bids[each.ad] >= reserve and each.quality > 0]
    ranked: dict[str, tuple[float, Ad]] = {}
    for each in sorted(able, key=lambda one: (-bids[one.ad] * one.quality, one.ad)):
        ranked.setdefault(each.seller, (bids[each.ad] * each.quality, each))
    order = list(ranked.values())
    placed = []
    for slot, (_, each) in enumerate(order[:slots]):
        below = order[slot + 1][0] if slot + 1 < len(order) else 0.0
        # Rounded up to a whole unit, since less would not have kept the slot; the bid itself is always enough.
        price = min(max(reserve, math.ceil(below / each.quality - 1e-9)), bids[each.ad])
        placed.append(Placement(slot, each.ad, each.seller, price))
    return placed
