"""The chain that always answers: personal, then the customer's categories, then the last days, then popular, then the rest.

The personal step is a log-linear blend of the directional item graph, user-based neighbours, the last days' popularity and,
when a ``size`` is given, the Transformer. Weights are tuned on a held-out last stretch of the log, never on what comes after
``as_of``. Every place of every ranking names the step that it came from, and every row says hot, warm or cold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, unknown
from tradewind.learn import _store
from tradewind.learn._blend import either, logs, mixed, tune
from tradewind.learn._holdout import Holdout, held_out
from tradewind.learn._rank import top_k
from tradewind.learn._signal import table
from tradewind.learn.base import Recommender, active
from tradewind.learn.category import Category
from tradewind.learn.graph import Graph
from tradewind.learn.popular import Popular
from tradewind.learn.recent import Recent
from tradewind.learn.sequences import Sequences
from tradewind.learn.transformer import SIZES, Transformer
from tradewind.learn.user_knn import UserKnn
from tradewind.params import Number, OneOf, Rule, check
from tradewind.types import Reason, from_micros

CROWD = 200_000  # customers above which neighbours cost too much per answer
PERSONAL = ("graph", "user_knn", "transformer")  # a row that none of these knows falls through to the next step
STEPS = ("category", "recent", "popular")


class Fallback(Recommender):
    """The shop's default recommender.

    ``size``: None for a blend without the Transformer, or its size; ``blend``: weights by source ("graph", "user_knn",
    "recent", "transformer"), None to tune them; ``epochs``, ``seed``, ``device``, ``threads``, ``checkpoint`` go to the
    Transformer. Scores are comparable within one row and source only. When not to use: to judge one idea; measure the
    single models.
    """

    name: ClassVar[str] = "fallback"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers", "cold_items"})
    rules: ClassVar[dict[str, Rule]] = {"seed": Number(0, 2**31, whole=True)}

    def __init__(
        self,
        *,
        size: str | None = None,
        blend: Mapping[str, float] | None = None,
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
        self.parts = self._quick(log, self.as_of)
        for part in (Category(weights=self.weights), Popular(weights=self.weights)):
            self.parts[part.name] = part.fit(log, as_of=from_micros(self.as_of))
        validation = None
        if self.size is not None:
            transformer = Transformer(
                size=self.size,
                epochs=self.epochs,
                seed=self.seed,
                device=self.device,
                threads=self.threads,
                checkpoint=self.checkpoint,
                weights=self.weights,
            ).fit(log, as_of=from_micros(self.as_of))
            self.parts["transformer"] = transformer
            validation, transformer.validation = transformer.validation, None
        self.mix = self._mix(log, validation)

    def _quick(self, log: Sequences, end: int) -> dict[str, Recommender]:
        """The quick sources of the blend, fitted on ``log`` as of ``end`` (microseconds)."""
        kinds: list[Recommender] = [Graph(weights=self.weights), Recent(weights=self.weights)]
        if int((log.lengths > 0).sum()) <= CROWD:
            kinds.append(UserKnn(weights=self.weights))
        return {part.name: part.fit(log, as_of=from_micros(end)) for part in kinds}

    def _mix(self, log: Sequences, validation: tuple[Holdout, NDArray[np.float32]] | None) -> dict[str, float]:
        """The weights of the sources: given, tuned, or graph and Transformer alike where the log is too small to tune."""
        sources = [name for name in (*PERSONAL, "recent") if name in self.parts]
        if self.blend is not None:
            for name in self.blend:
                if name not in sources:
                    raise unknown("source of the blend", name, sources)
            check("blend", self.blend, {name: Number(0, 100) for name in self.blend})
            if not any(self.blend.get(name, 0) for name in PERSONAL):
                raise InputError(f"blend: got {dict(self.blend)}; give a weight above 0 to at least one of {', '.join(PERSONAL)}.")
            return dict(self.blend)
        holdout = validation[0] if validation else held_out(log, table(self.weights), seed=self.seed)
        if holdout is None:
            return {name: 1.0 for name in ("graph", "transformer") if name in self.parts}
        quick = self._quick(holdout.train, int(holdout.train.at.max()) + 1)
        scores = {name: part.score(holdout.histories) for name, part in quick.items()}
        if validation:
            scores["transformer"] = validation[1]
        read = {name: logs(scores[name], logits=name == "transformer") for name in sources if name in scores}
        return tune(read, either(scores.values()), holdout)

    def refresh(self, log: Sequences) -> None:
        """Learn new events in the parts that can (graph, recent, popular); the others stay as fitted.

        Items that are new since the fit wait for the next fit. Histories passed to ``recommend`` are always as fresh as given.
        """
        self._fitted()
        known = self._aligned(log)
        for part in self.parts.values():
            if "incremental" in part.tags:
                part.update(known)
        self._known |= active(known)

    # ---- answering -------------------------------------------------------------------------------------------------

    def _personal(self, histories: Sequences) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
        """Scores [U, I] of the personal step and the names of its sources per row, object [U]."""
        used = [name for name in (*PERSONAL, "recent") if self.mix.get(name, 0.0) > 0]
        scores = {name: self.parts[name].score(histories) for name in used}
        says: dict[str, NDArray[np.bool_]] = {name: np.asarray(np.isfinite(each).any(axis=1)) for name, each in scores.items()}
        read = {name: logs(each, logits=name == "transformer") for name, each in scores.items()}
        blended = mixed(read, self.mix, either(scores.values()))
        personal = np.zeros(len(histories), dtype=bool)
        for name in set(used) & set(PERSONAL):
            personal |= says[name]
        blended[~personal] = -np.inf
        names = ["+".join(name for name in used if says[name][row]) for row in range(len(histories))]
        return blended, np.array(names, dtype=object)

    def _tiers(self, histories: Sequences) -> list[tuple[NDArray[np.float32], NDArray[np.object_]]]:
        tiers = [self._personal(histories)]
        tiers += [(self.parts[step].score(histories), np.full(len(histories), step, dtype=object)) for step in STEPS]
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
        for scores, names in self._tiers(history):
            if np.isfinite(scores[0, item]):
                return self.why(history, item, str(names[0]))
        raise AssertionError("the last tier knows every item")

    def why(self, history: Sequences, item: int, source: str) -> tuple[Reason, ...]:
        """The reasons of the first source that knows the item, the heaviest first."""
        for name in sorted(source.split("+"), key=lambda name: -self.mix.get(name, 0.0)):
            if name in self.parts and (why := self.parts[name].why(history, item, name)):
                return why
        return (Reason("catalogue", {"item": self.items[item]}),)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        heads, arrays = [], {}
        for part in self.parts.values():
            head, own = part.state()
            heads.append(head)
            arrays.update({f"{part.name}/{name}": array for name, array in own.items()})
        return {"mix": self.mix, "parts": heads}, arrays

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        self.mix, self.parts = {name: float(weight) for name, weight in values["mix"].items()}, {}
        for head in values["parts"]:
            prefix = head["name"] + "/"
            own = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
            self.parts[head["name"]] = Recommender.from_state(head, own)


PLUGIN = Fallback
