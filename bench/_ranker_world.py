"""A simulated shop that shows lists, with every probability known: for bench/ranker.py.

A click is "looked at" (by place alone, 1 / place^0.6) times "likes it": a logistic law of the item's hidden quality, the customer's
hidden taste for its category, whether the category is that of the last click or of the last five, whether it was bought before, and the
hour. Lists are ordered by a policy that knows all of that but the taste, plus noise: place and liking hang together, through what a
log can show. A purchase follows a click with a probability of its own, after an exponential delay of two days on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind.learn.sequences import Sequences
from tradewind.types import micros

SHOWN, DRAWN = 8, 30  # items of a list, and candidates that the policy chooses from
DAY = 86_400_000_000
START = micros(datetime(2026, 1, 5, tzinfo=UTC))
EXAMINED = np.arange(1, SHOWN + 1) ** -0.6
DELAY_DAYS = 2.0


@dataclass(frozen=True)
class Shown:
    """Impressions, the log of events, and the true probabilities of a click and of a purchase after a click, per row."""

    table: pa.Table
    log: Sequences
    click: np.ndarray[Any, Any]
    buy: np.ndarray[Any, Any]


class Shop:
    """The hidden truth and what has happened so far."""

    def __init__(self, *, customers: int, items: int, categories: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.category = self.rng.integers(0, categories, items)
        self.quality = self.rng.normal(0, 0.7, items)
        self.worth = self.rng.normal(0, 0.6, items)
        self.taste = self.rng.normal(0, 0.8, (customers, categories))
        self.evening = self.rng.normal(0, 0.5, categories)
        self.popular = np.exp(self.quality + self.rng.normal(0, 0.7, items))
        self.recent = np.full((customers, 5), -1)  # categories, newest first
        self.bought = np.full((customers, items), np.inf)  # when, microseconds

    def interest(self, who: Any, item: Any, at: Any) -> Any:
        """Log-odds of liking [n, m] for customers [n], items [n, m] and times [n]."""
        shelf = self.category[item]
        last = shelf == self.recent[who, :1]
        near = (shelf[:, :, None] == self.recent[who][:, None, :]).any(axis=2)
        hour = at // (DAY // 24) % 24
        evening = np.where(hour >= 17, 1.0, -0.5)[:, None] * self.evening[shelf]
        had = self.bought[who[:, None], item] < at[:, None]
        return -2.6 + self.quality[item] + self.taste[who[:, None], shelf] + 1.2 * last + 0.7 * near + evening - 1.5 * had

    def remember(self, who: Any, item: Any) -> None:
        """The category of a click becomes the newest of the five."""
        self.recent[who] = np.concatenate([self.category[item][:, None], self.recent[who][:, :-1]], axis=1)


def simulate(*, customers: int, days: int, items: int = 400, categories: int = 25, active: float = 0.35, seed: int = 0) -> Shown:
    """``days`` days in which a share ``active`` of the customers sees one list a day."""
    shop = Shop(customers=customers, items=items, categories=categories, seed=seed)
    rng = shop.rng
    shown: list[tuple[Any, ...]] = []
    events: list[tuple[Any, Any, Any, str]] = []
    for day in range(days):
        who = np.flatnonzero(rng.random(customers) < active)
        at = START + day * DAY + rng.integers(8 * 3600, 22 * 3600, len(who)) * 1_000_000
        visit(shop, who, at, events)
        drawn = rng.choice(items, (len(who), DRAWN), p=shop.popular / shop.popular.sum())
        like = shop.interest(who, drawn, at)
        policy = 0.6 * (like - shop.taste[who[:, None], shop.category[drawn]]) + rng.normal(0, 1.0, like.shape)
        policy[:, 1:] = np.where(_repeated(drawn)[:, 1:], -np.inf, policy[:, 1:])
        best = np.argsort(-policy, axis=1, kind="stable")[:, :SHOWN]
        item, like = np.take_along_axis(drawn, best, 1), np.take_along_axis(like, best, 1)
        click = EXAMINED / (1 + np.exp(-like))
        buy = 1 / (1 + np.exp(-(-1.0 + shop.worth[item] + 0.5 * shop.taste[who[:, None], shop.category[item]])))
        clicked = rng.random(click.shape) < click
        bought = clicked & (rng.random(click.shape) < buy)
        later = at[:, None] + np.maximum(rng.exponential(DELAY_DAYS * DAY, click.shape), 120e6).astype(np.int64)
        shown.append(tuple(np.broadcast_to(part, click.shape).ravel() for part in (
            at[:, None], who[:, None], item, np.arange(1, SHOWN + 1), clicked, bought, later, click, buy,
        )))  # fmt: skip
        for place in range(SHOWN):
            rows = np.flatnonzero(clicked[:, place])
            shop.remember(who[rows], item[rows, place])
            events.append((who[rows], item[rows, place], at[rows] + (place + 1) * 1_000_000, "view"))
        rows, place = np.nonzero(bought)
        np.minimum.at(shop.bought, (who[rows], item[rows, place]), later[rows, place])
        events.append((who[rows], item[rows, place], later[rows, place], "purchase"))
    return _tables(shop, shown, events)


def visit(shop: Shop, who: Any, at: Any, events: list[tuple[Any, Any, Any, str]]) -> None:
    """Before the list, some customers look at an item by themselves."""
    rows = np.flatnonzero(shop.rng.random(len(who)) < 0.5)
    if not len(rows):
        return
    drawn = shop.rng.choice(len(shop.category), (len(rows), 10), p=shop.popular / shop.popular.sum())
    like = shop.interest(who[rows], drawn, at[rows]) + shop.rng.gumbel(0, 1, drawn.shape)
    item = drawn[np.arange(len(rows)), like.argmax(axis=1)]
    events.append((who[rows], item, at[rows] - 60_000_000, "view"))
    shop.remember(who[rows], item)


def _repeated(drawn: Any) -> Any:
    """Where an item of a row stands in the row already."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ranked = np.take_along_axis(drawn, order, 1)
    again = np.zeros(drawn.shape, bool)
    np.put_along_axis(again, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], 1)
    return again


def _tables(shop: Shop, shown: list[tuple[Any, ...]], events: list[tuple[Any, Any, Any, str]]) -> Shown:
    at, who, item, position, clicked, bought, later, click, buy = (np.concatenate(parts) for parts in zip(*shown, strict=True))
    names = np.array([f"i{code:04d}" for code in range(len(shop.category))])
    people = np.array([f"c{code:05d}" for code in range(len(shop.taste))])
    time = pa.timestamp("us", tz="UTC")
    table = pa.table(
        {
            "at": pa.array(at, time), "customer": people[who], "item": names[item], "position": position,
            "channel": np.full(len(at), "inapp"), "click": clicked.astype(np.int8), "conversion": bought.astype(np.int8),
            "converted_at": pa.array(later, mask=~bought).cast(time),
        }
    )  # fmt: skip
    parts = [np.concatenate([event[n] for event in events]) for n in range(3)]
    kinds = np.concatenate([np.full(len(event[0]), event[3]) for event in events])
    log = Sequences.from_arrays(
        people[parts[0]],
        item=names[parts[1]],
        at=parts[2],
        kind=kinds.tolist(),
        categories={name: f"s{code:02d}" for name, code in zip(names, shop.category, strict=True)},
        items=names.tolist(),
    )
    return Shown(table, log, click, buy)
