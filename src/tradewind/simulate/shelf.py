"""What can be bought at a moment, and with which probability whom it suits: baskets to draw and their exact averages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tradewind.simulate import rng
from tradewind.simulate.catalogue import WIDTH, Catalogue
from tradewind.simulate.deals import Deal
from tradewind.simulate.people import People

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TIER_FIT = np.array([1.0, 0.35, 0.1])  # by distance of price tiers
STYLE_FIT = 0.3  # of an item of another style


@dataclass(frozen=True)
class Cut:
    """Averages per item of what a deal takes off a basket: share of baskets that qualify, minor units off, of which returned."""

    share: Floats
    off: Floats
    back: Floats


class Shelf:
    """The item law of one week: category by taste, item by popularity, price tier and style, basket by the item.

    A basket is 1-3 pieces of a main item and perhaps one accessory: 12 outcomes per item, enumerated, so that the sampler
    and the closed form are the same arrays.
    """

    def __init__(self, catalogue: Catalogue, week: int) -> None:
        self.catalogue = catalogue
        self.week = week
        self.open = catalogue.on_sale(week)
        self.cells = self._cells()
        self.choice = rng.Choice(self.cells)

    def _cells(self) -> Floats:
        """Probability of an item within (leaf, tier of the customer, style of the customer), float64[leaves * 12, per_leaf]."""
        items = self.catalogue
        base = items.weight * self.open
        tier = TIER_FIT[np.abs(items.tier[:, None] - np.arange(3)[None, :])]
        style = np.where(items.style[:, None] == np.arange(4)[None, :], 1.0, STYLE_FIT)
        share = base[:, None, None] * tier[:, :, None] * style[:, None, :]
        share = share.reshape(items.leaves, items.per_leaf, 12).transpose(0, 2, 1).reshape(-1, items.per_leaf)
        return np.asarray(share / share.sum(axis=1, keepdims=True))

    @cached_property
    def outcomes(self) -> Floats:
        """Probability of each basket of a main item, float64[J, 12]: pieces (1, 2, 3) x accessory (none, first, second, third)."""
        items = self.catalogue
        extra = items.extra_share * self.open[items.extras]
        extra = np.concatenate([1 - extra.sum(axis=1, keepdims=True), extra], axis=1)
        return np.asarray((items.quantity[:, :, None] * extra[:, None, :]).reshape(len(items), -1))

    @cached_property
    def baskets(self) -> rng.Choice:
        """Draws ``outcomes``."""
        return rng.Choice(self.outcomes)

    def basket(self, item: Ints, outcome: Ints) -> tuple[Ints, Ints]:
        """Return pieces of the main item and the accessory (-1 none) of baskets."""
        slot = outcome % (WIDTH + 1)
        extra = self.catalogue.extras[item, np.maximum(slot - 1, 0)]
        return outcome // (WIDTH + 1) + 1, np.where(slot > 0, extra, -1)

    @cached_property
    def _grid(self) -> tuple[Ints, Ints, Ints]:
        items = np.repeat(np.arange(len(self.catalogue))[:, None], 12, axis=1)
        pieces, extra = self.basket(items, np.repeat(np.arange(12)[None, :], len(items), axis=0))
        return items, pieces, extra

    def worth(self, values: Ints, item: Ints, pieces: Ints, extra: Ints) -> tuple[Ints, Ints]:
        """Price or cost (``values`` per item) of the main line and of the accessory line of baskets."""
        return values[item] * pieces, np.where(extra >= 0, values[extra], 0)

    @cached_property
    def value(self) -> Floats:
        """Average undiscounted basket value by main item, minor units, float64[J]."""
        main, extra = self.worth(self.catalogue.price, *self._grid)
        return np.asarray((self.outcomes * (main + extra)).sum(axis=1))

    @cached_property
    def margin(self) -> tuple[Floats, Floats]:
        """Average basket margin by main item, and the part of it that an average customer returns; minor units, float64[J]."""
        item, _, extra = self._grid
        main_price, extra_price = self.worth(self.catalogue.price, *self._grid)
        main_cost, extra_cost = self.worth(self.catalogue.cost, *self._grid)
        main, side = main_price - main_cost, extra_price - extra_cost
        back = self.catalogue.returned[item] * main + self.catalogue.returned[extra] * side
        return (self.outcomes * (main + side)).sum(axis=1), (self.outcomes * back).sum(axis=1)

    def cut(self, deal: Deal) -> Cut:
        """Average what ``deal`` takes off, by main item, over the enumerated baskets."""
        item, _, extra = self._grid
        main, side = deal.take(*self.worth(self.catalogue.price, *self._grid))
        back = self.catalogue.returned[item] * main + self.catalogue.returned[extra] * side
        weight = self.outcomes
        return Cut(
            share=(weight * ((main + side) > 0)).sum(axis=1),
            off=(weight * (main + side)).sum(axis=1),
            back=(weight * back).sum(axis=1),
        )

    def mean(self, people: People, values: Floats) -> Floats:
        """Average a per-item value over each customer's own item law, float64[n]."""
        items = self.catalogue
        by_cell = (self.cells.reshape(items.leaves, 12, -1) * values.reshape(items.leaves, 1, -1)).sum(axis=2)
        mine = by_cell[:, people.tier * 4 + people.style].T
        return np.asarray((people.taste * mine).sum(axis=1))

    def draw(self, people: People, rows: Ints, luck: tuple[Floats, Floats]) -> Ints:
        """Draw one main item per entry of ``rows`` from its customer's law; ``luck`` are two uniforms per entry."""
        leaf = people.tastes.pick(rows, luck[0])
        cell = leaf * 12 + people.tier[rows] * 4 + people.style[rows]
        return np.asarray(leaf * self.catalogue.per_leaf + self.choice.pick(cell, luck[1]))

    def likeness(self, people: People, rows: Ints, item: Ints) -> Floats:
        """How well items suit customers, 0-1: favourite category, own price tier, own style; 0.3 where no item is named."""
        items = self.catalogue
        best = people.taste.max(axis=1)
        taste = np.sqrt(people.taste[rows, items.leaf[item]] / best[rows])
        tier = np.array([1.0, 0.75, 0.5])[np.abs(items.tier[item] - people.tier[rows])]
        style = np.where(items.style[item] == people.style[rows], 1.0, 0.75)
        return np.where(item >= 0, taste * tier * style, 0.3)
