"""The chain that always answers: personal, then the customer's categories, then the last days, then popular, then the rest.

The personal step is the directional item graph, blended log-linearly with the Transformer when a ``size`` is given; the
weight is tuned on held-out customers inside the log, never on what comes after ``as_of``. Every place of every ranking names
the step that it came from, and every row says hot, warm or cold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn import _store
from tradewind.learn._holdout import Holdout
from tradewind.learn._rank import top_k
from tradewind.learn.base import Recommender, active
from tradewind.learn.category import Category
from tradewind.learn.graph import Graph
from tradewind.learn.popular import Popular
from tradewind.learn.recent import Recent
from tradewind.learn.sequences import Sequences
from tradewind.learn.transformer import SIZES, Transformer
from tradewind.params import Number, OneOf, Rule, check
from tradewind.types import Reason, from_micros

FLOOR = 1e-4  # probability of an item that the graph has no edge to: keeps its logarithm finite
GRID = np.linspace(0, 1, 21)


class Fallback(Recommender):
    """The shop's default recommender.

    ``size``: None for the graph alone, or the size of the Transformer to blend with; ``blend``: weight of the graph in the
    blend, None to tune it; ``epochs``, ``seed``, ``device``, ``threads``, ``checkpoint`` go to the Transformer. Scores
    are comparable within one row and source only. When not to use: to judge one idea; measure the single models.
    """

    name: ClassVar[str] = "fallback"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers", "cold_items"})
    rules: ClassVar[dict[str, Rule]] = {"seed": Number(0, 2**31, whole=True)}

    def __init__(
        self,
        *,
        size: str | None = None,
        blend: float | None = None,
        epochs: int | None = None,
        seed: int = 0,
        device: str = "cpu",
        threads: int = 1,
        checkpoint: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.size, self.blend, self.epochs, self.seed = size, blend, epochs, seed
        self.device, self.threads, self.checkpoint, self.weights = device, threads, checkpoint, weights

    # ---- learning --------------------------------------------------------------------------------------------------

    def _fit(self, log: Sequences) -> None:
        if self.size is not None:
            check(type(self).__name__, {"size": self.size}, {"size": OneOf(tuple(SIZES))})
        if self.blend is not None:
            check(type(self).__name__, {"blend": self.blend}, {"blend": Number(0, 1)})
        cut = from_micros(self.as_of)
        self.graph = Graph(weights=self.weights).fit(log, as_of=cut)
        self.steps: tuple[Recommender, ...] = tuple(kind(weights=self.weights).fit(log, as_of=cut) for kind in (Category, Recent, Popular))
        self.transformer: Transformer | None = None
        self.weight = 1.0
        if self.size is None:
            return
        self.transformer = Transformer(
            size=self.size,
            epochs=self.epochs,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            checkpoint=self.checkpoint,
            weights=self.weights,
        ).fit(log, as_of=cut)
        self.weight = 0.5 if self.blend is None else self.blend
        if self.blend is None and self.transformer.validation is not None:
            self.weight = self._tuned(*self.transformer.validation)
        self.transformer.validation = None

    def _tuned(self, holdout: Holdout, logits: NDArray[np.float32]) -> float:
        edges = Graph(weights=self.weights).fit(holdout.train, as_of=from_micros(self.as_of)).score(holdout.histories)
        reached = [holdout.ndcg(blended(edges, logits, float(weight))) for weight in GRID]
        return float(GRID[int(np.argmax(reached))])

    def refresh(self, log: Sequences) -> None:
        """Learn new events in the parts that can (graph, recent, popular); categories and Transformer stay as fitted.

        Items that are new since the fit wait for the next fit. Histories passed to ``recommend`` are always as fresh as given.
        """
        self._fitted()
        known = self._aligned(log)
        self.graph.update(known)
        for step in self.steps:
            if "incremental" in step.tags:
                step.update(known)
        self._known |= active(known)

    # ---- answering -------------------------------------------------------------------------------------------------

    def _personal(self, histories: Sequences) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
        """Scores [U, I] of the personal step and the name of its source per row, object [U]."""
        edges = self.graph.score(histories)
        if self.transformer is None:
            return edges, np.full(len(histories), "graph", dtype=object)
        logits = self.transformer.score(histories)
        connected, told = (np.isfinite(part).any(axis=1) for part in (edges, logits))
        both = connected & told
        edges[both] = blended(edges[both], logits[both], self.weight)
        edges[~connected] = logits[~connected]
        return edges, np.select([both, told], ["graph+transformer", "transformer"], "graph").astype(object)

    def _tiers(self, histories: Sequences) -> list[tuple[NDArray[np.float32], NDArray[np.object_]]]:
        tiers = [self._personal(histories)]
        tiers += [(step.score(histories), np.full(len(histories), step.name, dtype=object)) for step in self.steps]
        unseen = np.tile(-np.arange(len(self.items), dtype=np.float32), (len(histories), 1))
        return [*tiers, (unseen, np.full(len(histories), "catalogue", dtype=object))]

    def _rank(
        self, histories: Sequences, barred: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
        users = len(histories)
        items, scores = np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)
        sources = np.full((users, k), "", dtype=object)
        barred = barred.copy()
        for offered, names in self._tiers(histories):
            filled = (items >= 0).sum(axis=1)
            if (filled == k).all():
                break
            found, best = top_k(np.where(barred, -np.inf, offered), k)
            row, column = np.nonzero((found >= 0) & (np.arange(k) < k - filled[:, None]))
            place = column + filled[row]
            items[row, place], scores[row, place], sources[row, place] = found[row, column], best[row, column], names[row]
            barred[row, found[row, column]] = True
        return items, scores, sources

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        """Minus the place of each item in the whole chain: exact, and comparable across steps."""
        free = np.zeros((len(histories), len(self.items)), dtype=bool)
        items, _, _ = self._rank(histories, free, len(self.items))
        places = np.empty(items.shape, np.float32)
        np.put_along_axis(places, items, -np.arange(items.shape[1], dtype=np.float32)[None, :], axis=1)
        return places

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        if np.isfinite(self._personal(history)[0][0, item]):
            why = self.graph.reasons(history, row=0, item=item)
            if not why and self.transformer is not None:
                why = self.transformer.reasons(history, row=0, item=item)
            return why or (Reason("model", {"model": self.name}),)
        for step in self.steps:
            if np.isfinite(step.score(history)[0, item]):
                return step.reasons(history, row=0, item=item)
        return (Reason("catalogue", {"item": self.items[item]}),)

    def why(self, history: Sequences, item: int, source: str) -> tuple[Reason, ...]:
        for part in (self.graph, *self.steps):
            if part.name == source:
                return part.why(history, item, source)
        if source == "catalogue":
            return (Reason("catalogue", {"item": self.items[item]}),)
        return self._reasons(history, item)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _parts(self) -> list[Recommender]:
        return [self.graph, *self.steps, *([] if self.transformer is None else [self.transformer])]

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        heads, arrays = [], {}
        for part in self._parts():
            head, own = part.state()
            heads.append(head)
            arrays.update({f"{part.name}/{name}": array for name, array in own.items()})
        return {"weight": self.weight, "parts": heads}, arrays

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        self.weight, self.transformer = float(values["weight"]), None
        steps: list[Recommender] = []
        for head in values["parts"]:
            prefix = head["name"] + "/"
            part = Recommender.from_state(head, {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)})
            if isinstance(part, Graph):
                self.graph = part
            elif isinstance(part, Transformer):
                self.transformer = part
            else:
                steps.append(part)
        self.steps = tuple(steps)


def blended(edges: NDArray[np.float32], logits: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """``weight`` x log of the graph's share of each item plus the rest x log-softmax of the logits, float32 [U, I].

    Items that neither knows (minus infinity in both) stay minus infinity; for an item without edges the share is ``FLOOR``.
    """
    strength = np.where(np.isfinite(edges), edges, 0.0)
    share = strength / np.maximum(strength.sum(axis=1, keepdims=True), 1e-30)
    spoken = np.where(np.isfinite(logits), logits, -np.inf)
    top = spoken.max(axis=1, keepdims=True, initial=-1e30)
    normal = spoken - top - np.log(np.exp(spoken - top).sum(axis=1, keepdims=True) + 1e-30)
    normal = np.where(np.isfinite(normal), normal, np.log(1e-9))  # what only the graph knows
    mixed = weight * np.log(share + FLOOR) + (1 - weight) * normal
    return np.where(np.isfinite(edges) | np.isfinite(logits), mixed, -np.inf).astype(np.float32)


PLUGIN = Fallback
