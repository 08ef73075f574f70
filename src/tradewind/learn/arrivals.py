"""New arrivals: items of the last days, by what little is known of them and room for luck.

The response to an item is the share of customers who took to it among those who were active since it appeared. With few
customers that share says little, so it leans on a Beta prior fitted to the shop's items (empirical Bayes), and the item is ranked by
an upper quantile of its posterior (Bayesian UCB, Kaufmann et al. 2012) or by one draw from it (Thompson 1933): both show uncertain
items more often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._signal import signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, OneOf, Rule
from tradewind.types import Reason

DAY = 86_400_000_000
WEAKEST, STRONGEST = 2.0, 10_000.0  # customers that the prior may count as
FEW = 10  # items with a response below which the shop fits no prior
ANY = (1.0, 99.0)  # Beta prior of a shop with fewer: one customer in a hundred

Floats = NDArray[np.float64]


class Arrivals(Recommender):
    """Items that appeared in the ``days`` before the cut, those in the customer's categories first.

    Score: the item's optimistic response (0-1), plus 1 when the customer has acted in its category. An item appears on its first day
    in the catalogue, else with its first event; one that has neither is no arrival. ``explore``: "ucb" takes the posterior
    quantile ``quantile``, "thompson" one draw per fit from ``seed``. The category is that of the item's latest event, else the catalogue's.

    When not to use: alone, since it knows nothing older than ``days``; give it some places of a list.
    """

    name: ClassVar[str] = "arrivals"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers"})
    rules: ClassVar[dict[str, Rule]] = {
        "days": Number(0.01, 10_000),
        "explore": OneOf(("ucb", "thompson")),
        "quantile": Number(0.5, 0.9999),
        "seed": Number(0, 2**31, whole=True),
    }

    def __init__(
        self,
        *,
        days: float = 30.0,
        explore: str = "ucb",
        quantile: float = 0.9,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.days, self.explore, self.quantile, self.seed, self.weights = days, explore, quantile, seed, weights

    def _fit(self, log: Sequences) -> None:
        from scipy.stats import beta

        self._shelf = self._shelves(log)
        appeared = self._appearances(log)
        since = self.as_of - int(self.days * DAY)
        self._fresh = (appeared >= since) & (appeared < self.as_of)
        self._takers, self._asked = self._responses(log, np.maximum(appeared, since))
        self._prior = prior(self._takers, self._asked)
        a, b = self._prior[0] + self._takers, self._prior[1] + self._asked - self._takers
        drawn = beta.ppf(self.quantile, a, b) if self.explore == "ucb" else np.random.default_rng(self.seed).beta(a, b)
        self._hope = np.where(self._fresh, drawn, -np.inf)

    def _appearances(self, log: Sequences) -> NDArray[np.int64]:
        """When each item appeared, microseconds int64 [I]: listed, else first event, else never (the largest number)."""
        first = np.full(len(self.items), np.iinfo(np.int64).max)
        has = log.item >= 0
        np.minimum.at(first, log.item[has], log.at[has])
        listed = log.catalogue.listed
        return np.array([listed.get(name, int(at)) for name, at in zip(self.items, first, strict=True)], dtype=np.int64)

    def _responses(self, log: Sequences, since: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Customers with a positive event on each item from ``since`` (int64 [I]) on, and customers with any event from then on."""
        found = signal(log, table(self.weights))
        after = found.at >= since[found.item]
        pairs = np.unique(found.owner[after] * len(self.items) + found.item[after])
        takers = np.bincount(pairs % len(self.items), minlength=len(self.items))
        last = np.sort(log.at[log.offsets[1:][log.lengths > 0] - 1])
        return takers, len(last) - np.searchsorted(last, since, side="left")

    def _shelves(self, log: Sequences) -> NDArray[np.int32]:
        index = {name: code for code, name in enumerate(self.categories)}
        known = log.catalogue.shelves
        shelf = np.array([index.get(known.get(name, ""), -1) for name in self.items], dtype=np.int32)
        has = np.flatnonzero((log.item >= 0) & (log.category >= 0))
        by_time = has[np.argsort(log.at[has], kind="stable")]
        shelf[log.item[by_time]] = log.category[by_time]
        return shelf

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        found = signal(histories, table(self.weights))
        liked = np.zeros((len(histories), len(self.categories) + 1), dtype=bool)
        liked[found.owner, self._shelf[found.item]] = True
        liked[:, -1] = False  # items without a category are in nobody's
        return (self._hope + liked[:, self._shelf]).astype(np.float32)

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """How many of those who could have taken to the new item did, and the category that the customer has acted in, if any."""
        if not self._fresh[item]:
            return ()
        details: dict[str, Any] = {"days": self.days, "takers": int(self._takers[item]), "customers": int(self._asked[item])}
        shelf = int(self._shelf[item])
        if shelf >= 0 and (self._shelf[signal(history, table(self.weights)).item] == shelf).any():
            details["category"] = self.categories[shelf]
        return (Reason("arrival", details),)

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        arrays = {"shelf": self._shelf, "hope": self._hope, "fresh": self._fresh, "takers": self._takers, "asked": self._asked}
        return {"prior": list(self._prior)}, arrays

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        self._shelf, self._hope, self._fresh = arrays["shelf"], arrays["hope"], arrays["fresh"]
        self._takers, self._asked = arrays["takers"], arrays["asked"]
        self._prior = (float(values["prior"][0]), float(values["prior"][1]))


def prior(takers: NDArray[np.int64], asked: NDArray[np.int64]) -> tuple[float, float]:
    """Beta(a, b) of the shop's response rates by moments, over items with any response; ``ANY`` where these are few.

    The variance of the rates less their binomial noise gives the strength a + b, kept between ``WEAKEST`` and ``STRONGEST``.
    """
    known = (takers > 0) & (asked > 0)
    if known.sum() < FEW:
        return ANY
    rate, size = takers[known] / asked[known], asked[known]
    mean = float(np.clip(rate.mean(), 1e-6, 1 - 1e-6))
    noise = float((mean * (1 - mean) / size).mean())
    spread = max(float(rate.var()) - noise, 1e-12)
    strength = float(np.clip(mean * (1 - mean) / spread - 1, WEAKEST, STRONGEST))
    return mean * strength, (1 - mean) * strength


PLUGIN = Arrivals
