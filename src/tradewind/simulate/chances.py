"""The law of an answer: the probabilities that the environment draws from and that the truth is computed from.

Documented in docs/simulation.md; the laws are ours, chosen so that right and wrong targeting can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.simulate import people as folk
from tradewind.simulate import season, wording
from tradewind.simulate.contacts import Contacts
from tradewind.simulate.people import People
from tradewind.simulate.shelf import Cut, Shelf
from tradewind.simulate.window import Window

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LAG = 2.0  # hours in which a message is opened and clicked; what it causes comes after them
DELAY = 18.0  # mean further hours until an order that a message caused
DEPTH = 0.10  # discount (share of the basket) at which 63 % of what discounts can do is reached


@dataclass(frozen=True)
class Chances:
    """Probabilities per contact, float64[m], and averages of the basket that it may cause (minor units)."""

    row: Ints  # of the chunk
    open: Floats
    click: Floats  # unconditional
    buy: Floats  # of one more order, given the click
    reach: Floats  # probability that its delay ends before the window does (already in ``buy``)
    leave: Floats  # unsubscribe
    complain: Floats
    annoyed: Floats  # share of own orders lost after it
    gain: Floats  # average margin of the caused order, returns taken off
    share: Floats  # of its baskets that the deal applies to
    off: Floats  # average taken off, 0 where it does not apply
    kept: Floats  # the same after returns


class Averages:
    """Per-item averages of a shelf and per-customer averages of a chunk, computed when first needed."""

    def __init__(self, people: People, shelf: Shelf, contacts: Contacts) -> None:
        self.people, self.shelf = people, shelf
        gross, back = shelf.margin
        self.cuts: list[Cut] = [shelf.cut(deal) for deal in contacts.deals]
        self.gross, self.back = gross, back
        self.own_gross, self.own_back = shelf.mean(people, gross), shelf.mean(people, back)
        self.own_value = shelf.mean(people, shelf.value)
        self.own_cuts = [Cut(*(shelf.mean(people, part) for part in (cut.share, cut.off, cut.back))) for cut in self.cuts]

    def own_margin(self) -> Floats:
        """Average margin of an own order after returns, by customer."""
        return np.asarray(self.own_gross - self.people.returns * self.own_back)


def chances(people: People, window: Window, contacts: Contacts, *, tired: Floats, effects: float, averages: Averages) -> Chances:
    """Compute the law of the answers of one chunk's ``contacts``; ``effects`` scales what messages cause (0: nothing)."""
    row = contacts.customer - people.first
    shelf = window.shelf
    named = contacts.item >= 0
    like = shelf.likeness(people, row, contacts.item)
    hour = (window.start.hour + contacts.x.astype(np.int64) + season.offsets(window.start)[people.zone[row]]) % 24
    level = folk.alive(people, np.array([window.day]))[:, 0]
    engaged = 0.4 + 0.6 * np.minimum(1.0, level / people.settle)
    fresh = np.exp(-people.tire[row] * tired)
    opened = people.open[row, contacts.channel] * season.fit(people.peak[row], hour) * engaged[row] * fresh

    def mean(per_item: Floats, own: Floats) -> Floats:
        return np.where(named, per_item[contacts.item], own[row])

    def by_deal(name: str) -> Floats:
        values = np.zeros(len(contacts))
        for number, (cut, own) in enumerate(zip(averages.cuts, averages.own_cuts, strict=True)):
            mine = contacts.deal == number
            values[mine] = mean(getattr(cut, name), getattr(own, name))[mine]
        return values

    off, back = by_deal("off"), by_deal("back")
    pull = 1 - np.exp(-off / mean(shelf.value, averages.own_value) / DEPTH)
    words = wording.factor(people, row, contacts, seed=window.seed)
    clicked = np.clip(people.click[row] * (0.45 + 0.55 * like) * (1 + people.lure[row] * pull) * words, 0, 0.95)
    buy = people.pull[row] * (0.3 + 0.7 * like) + people.slope[row] * pull * (0.4 + 0.6 * like)
    reach = 1 - np.exp(-np.maximum(window.hours - contacts.x - LAG, 0) / DELAY)
    available = np.where(named, shelf.open[contacts.item], True)
    opened = np.clip(opened, 0, 0.95)
    unwanted = ~people.consent[row, contacts.channel]
    return Chances(
        row=row,
        open=opened,
        click=opened * clicked,
        buy=np.clip(buy * effects * fresh, 0, 0.95) * reach * available,
        reach=reach,
        leave=np.clip(people.leave[row] * (1 + tired) + 0.05 * unwanted, 0, 0.5),
        complain=np.clip(0.0006 * (1 + 2 * tired) + 0.02 * unwanted, 0, 0.5),
        annoyed=np.clip(people.annoyed[row] * effects, 0, 0.9),
        gain=mean(averages.gross, averages.own_gross) - people.returns[row] * mean(averages.back, averages.own_back),
        share=by_deal("share"),
        off=off,
        kept=off - people.returns[row] * back,
    )
