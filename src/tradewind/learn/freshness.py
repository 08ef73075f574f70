"""The gate in front of the serving model: a candidate is compared with it on the same questions before it may take over.

The same comparison tells how far a model that went on learning by the hour (``fit_partial``, ``update``) has drifted from a refit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn.base import Recommender
from tradewind.learn.evaluate import Targets
from tradewind.stats import bootstrap, ranking
from tradewind.types import Estimate

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Serving model and candidate on the same customers.

    ``serving``, ``candidate``, ``difference`` (candidate minus serving, paired): NDCG@k, intervals by bootstrap over customers;
    ``overlap``: mean share of the k places that both fill with the same items; ``same_first``: share with the same first item.
    """

    serving: Estimate
    candidate: Estimate
    difference: Estimate
    overlap: float
    same_first: float

    def passes(self, *, tolerance: float = 0.0) -> bool:
        """Whether the candidate is, with the confidence of the interval, at most ``tolerance`` (a share of the serving NDCG) worse."""
        low = self.difference.low
        return low is not None and low >= -tolerance * self.serving.value

    def __str__(self) -> str:
        parts = [
            f"{each.name} {each.value:.4f} [{each.low:.4f} {each.high:.4f}]" for each in (self.serving, self.candidate, self.difference)
        ]
        return f"{', '.join(parts)}; {self.overlap:.0%} of the places alike, {self.same_first:.0%} of the first places"


def compare(
    serving: Recommender,
    candidate: Recommender,
    wanted: Targets,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    seed: int = 0,
    draws: int = 1000,
) -> Comparison:
    """Ask two fitted models the questions of ``wanted``, which neither may have learned the answers of.

    Their catalogues may differ; an item that one of them does not know is one that it cannot recommend.

    Raises
    ------
    InputError
        Nothing is asked.
    """
    _, offsets, items = wanted
    relevant = np.diff(offsets)
    if not relevant.any():
        raise InputError("compare: there is nothing to ask. Give customers with at least one wanted item.")
    lists = [_lists(model, wanted, k, exclude_seen) for model in (serving, candidate)]
    asked = relevant > 0
    scores = [ranking.ndcg(ranking.hits(each, offsets, items), relevant)[asked] for each in lists]
    before, after = (each[asked] for each in lists)
    common = ((before[:, :, None] == after[:, None, :]) & (before[:, :, None] >= 0)).any(axis=2).sum(axis=1)
    most = np.maximum(np.maximum((before >= 0).sum(axis=1), (after >= 0).sum(axis=1)), 1)
    return Comparison(
        bootstrap.mean(scores[0], name="serving", seed=seed, draws=draws),
        bootstrap.mean(scores[1], name="candidate", seed=seed, draws=draws),
        bootstrap.difference(scores[1], scores[0], name="difference", seed=seed, draws=draws),
        float((common / most).mean()),
        float((before[:, 0] == after[:, 0]).mean()),
    )


def _lists(model: Recommender, wanted: Targets, k: int, exclude_seen: bool) -> NDArray[np.int64]:
    """Recommended items int64 [V, k] in the codes of the questions; -1 where the list ends, below that an item they do not know."""
    number = {item: code for code, item in enumerate(wanted.histories.items.tolist())}
    codes = np.array([number.get(item, -2 - code) for code, item in enumerate(model.items.tolist())] + [-1], dtype=np.int64)
    lists: NDArray[np.int64] = codes[model.recommend(wanted.histories, k=k, exclude_seen=exclude_seen).items]
    return lists
