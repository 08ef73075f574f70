"""The chain that always answers: personal, then the customer's categories, then the crowd's choice, then the rest.

The personal step is a log-linear blend of the item graph, neighbours among users and items, matrix factorisation, buying again,
popularity and, when a ``size`` is given, the Transformer. Weights are tuned on a held-out last stretch of the log, never on what
comes after ``as_of``: one set for all, and others by length of the history and kind of list where they are proved to help. What
strangers see first is chosen there too. Every place of every ranking names the step that it came from, every row says hot, warm
or cold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind import plugins
from tradewind.errors import InputError, unknown
from tradewind.learn import _store
from tradewind.learn._blend import AGAIN, NEW, Blend, Scores, Trials, Weights, buckets, either, hides, logs, mixed, tuned
from tradewind.learn._holdout import MOST, Holdout, distinct, last_days, last_moment
from tradewind.learn._rank import top_k
from tradewind.learn._signal import table
from tradewind.learn.base import BLOCK, Recommender, active
from tradewind.learn.sequences import Sequences
from tradewind.learn.transformer import SIZES, Transformer
from tradewind.params import Number, OneOf, Rule, check
from tradewind.types import Reason, from_micros

CROWD = 200_000  # customers above which neighbours cost too much per answer
COSTLY = ("user_knn", "item_knn", "als")  # left out of a crowd unless they are asked for
BLOCK_CELLS, ALL_CELLS, FEWEST = 8_000_000, 200_000_000, 200  # customers x items: of a block, of all tuning (but that many customers)
PERSONAL = ("graph", "user_knn", "item_knn", "als", "transformer")  # a row that none of these knows falls through to the next step
SOURCES = (*PERSONAL, "content", "repeat", "recent", "popular")
DEFAULT = ("graph", "user_knn", "item_knn", "als", "repeat", "recent")
COLD = ("recent", "popular")  # what strangers are shown is a blend of these
STEPS = ("category", "recent", "popular")
STRANGERS = 40  # held-out customers without a history that it takes to weigh the sources of ``COLD``


class Fallback(Recommender):
    """The shop's default recommender.

    ``size``: None for a blend without the Transformer, or its size; ``sources`` of the blend beside it: any of "graph",
    "user_knn", "item_knn", "als", "content", "repeat", "recent", "popular" (None: all but content and popular); ``blend``:
    weights by source, None to tune them; ``epochs``, ``seed``, ``device``, ``threads``, ``checkpoint`` go to the Transformer.
    ``mix`` holds the overall weights, ``own`` those of a kind of list or bucket of histories. Scores are comparable within one
    row and source only. When not to use: to judge one idea; measure the single models.
    """

    name: ClassVar[str] = "fallback"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers", "cold_items"})
    rules: ClassVar[dict[str, Rule]] = {"seed": Number(0, 2**31, whole=True)}

    def __init__(
        self,
        *,
        size: str | None = None,
        sources: Sequence[str] | None = None,
        blend: Mapping[str, float] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        device: str = "cpu",
        threads: int = 1,
        checkpoint: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.size, self.sources, self.blend, self.epochs, self.seed = size, sources, blend, epochs, seed
        self.device, self.threads, self.checkpoint, self.weights = device, threads, checkpoint, weights

    @property
    def mix(self) -> Weights:
        """The overall weights of the blend, by source."""
        return self._blend.overall

    @property
    def own(self) -> Mapping[str, Weights]:
        """Weights of a kind of list ("new", "again"), of one of its buckets ("new/2"), and of strangers ("cold")."""
        return self._blend.own

    # ---- learning --------------------------------------------------------------------------------------------------

    def _fit(self, log: Sequences) -> None:
        wanted = self._wanted(log)
        self.parts: dict[str, Recommender] = {}
        validation = None
        if self.size is not None:
            transformer = self._deep().fit(log, as_of=from_micros(self.as_of))
            validation, transformer.validation = transformer.validation, None
            self.parts["transformer"] = transformer
        self._blend = Blend(dict(self.blend)) if self.blend is not None else self._tuned(log, wanted, validation)
        needed = [name for name in SOURCES if name in self._blend.used or name in STEPS]
        quick = self._quick(log, self.as_of, [name for name in (*needed, "category") if name != "transformer"])
        self.parts = {**quick, **self.parts}

    def _wanted(self, log: Sequences) -> list[str]:
        """The sources asked for, in the order of ``SOURCES``; refuses what cannot be."""
        if self.size is not None:
            check(type(self).__name__, {"size": self.size}, {"size": OneOf(tuple(SIZES))})
        able = [name for name in SOURCES if name != "transformer" or self.size is not None]
        asked = [*(DEFAULT if self.sources is None else self.sources), *(["transformer"] if self.size else [])]
        if self.blend is not None:
            check("blend", self.blend, {name: Number(0, 100) for name in self.blend})
            asked = list(self.blend)
        for name in asked:
            if name not in able:
                raise unknown("source of the blend", name, able)
        if not any(name in PERSONAL and (self.blend is None or self.blend[name] > 0) for name in asked):
            what = f"sources: got {asked}; name" if self.blend is None else f"blend: got {dict(self.blend)}; give a weight above 0 to"
            raise InputError(f"{what} at least one of {', '.join(PERSONAL)}.")
        crowded = self.sources is None and self.blend is None and int((log.lengths > 0).sum()) > CROWD
        return [name for name in SOURCES if name in asked and not (crowded and name in COSTLY)]

    def _deep(self) -> Transformer:
        return Transformer(
            size=str(self.size),
            epochs=self.epochs,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            checkpoint=self.checkpoint,
            weights=self.weights,
        )

    def _quick(self, log: Sequences, end: int, names: Sequence[str]) -> dict[str, Recommender]:
        """The models ``names``, fitted on ``log`` as of ``end`` (microseconds)."""
        found: dict[str, Recommender] = {}
        for name in names:
            kind = plugins.load("learn", name)
            # What counts as buying again is the purchase, whatever the other sources make of views.
            model: Recommender = kind() if name == "repeat" else kind(weights=self.weights)
            found[name] = model.fit(log, as_of=from_micros(end))
        return found

    def _tuned(self, log: Sequences, wanted: Sequence[str], validation: tuple[Holdout, Scores] | None) -> Blend:
        """Weights of the sources from held-out data; graph and Transformer alike where the log is too small to tune."""
        weights = table(self.weights)
        most = int(min(MOST, max(FEWEST, ALL_CELLS // len(log.items))))
        holdout = validation[0] if validation else None
        holdout = holdout or last_days(log, weights, seed=self.seed, most=most) or last_moment(log, weights, seed=self.seed, most=most)
        if holdout is None:
            known = [name for name in ("graph", "transformer") if name in wanted] or wanted
            return Blend({name: float(name in known) for name in wanted})
        end = int(holdout.train.at.max()) + 1
        parts = self._quick(holdout.train, end, [name for name in {*wanted, *COLD} if name != "transformer"])
        logits = validation[1] if validation else None
        blend = tuned(_trials(parts, wanted, holdout, logits), seed=self.seed)
        strangers = _strangers(log, holdout, weights, seed=self.seed, most=most)
        if strangers is not None:
            blend = Blend(blend.overall, {**blend.own, "cold": _trials(parts, COLD, strangers, None).best()})
        return blend

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

    def _personal(self, histories: Sequences, again: NDArray[np.bool_]) -> tuple[Scores, NDArray[np.object_]]:
        """Scores [U, I] of the personal step and the names of its sources per row, object [U]; ``again``: lists of what was had, too."""
        used = [name for name in SOURCES if name in self._blend.used and name in self.parts]
        scores = {name: self.parts[name].score(histories) for name in used}
        says = {name: np.asarray(np.isfinite(each).any(axis=1)) for name, each in scores.items()}
        read = {name: logs(each, logits=name == "transformer") for name, each in scores.items()}
        has = np.bincount(histories.owner[histories.item >= 0], minlength=len(histories)) > 0
        blended = np.full((len(histories), len(self.items)), -np.inf, np.float32)
        names = np.full(len(histories), "", dtype=object)
        cells = again * 100 + buckets(histories)
        for cell in np.unique(cells).tolist():
            rows = np.flatnonzero(cells == cell)
            weights = self._blend.of(AGAIN if cell >= 100 else NEW, cell % 100)
            some = [name for name in used if weights.get(name, 0.0) > 0]
            blended[rows] = mixed({name: read[name][rows] for name in some}, weights, either([scores[name][rows] for name in some]))
            # Where tuning gave all weight to what everybody sees, that is for whoever has a history.
            personal = np.any([says[name][rows] for name in some if name in PERSONAL] or [has[rows]], axis=0)
            blended[rows[~personal]] = -np.inf
            names[rows] = ["+".join(name for name in some if says[name][row]) for row in rows]
        return blended, names

    def _tiers(self, histories: Sequences, again: NDArray[np.bool_]) -> Iterator[tuple[Scores, NDArray[np.object_]]]:
        """Scores [U, I] and source names [U] of one step after the other."""
        yield self._personal(histories, again)
        yield self._step("category", histories)
        weights = self._blend.own.get("cold")
        if weights:
            some = [name for name in COLD if weights[name] > 0]
            scores = {name: self.parts[name].score(histories) for name in some}
            blended = mixed({name: logs(each) for name, each in scores.items()}, weights, either(scores.values()))
            yield blended, np.full(len(histories), "+".join(some), dtype=object)
        yield from (self._step(name, histories) for name in COLD)
        unseen = np.tile(-np.arange(len(self.items), dtype=np.float32), (len(histories), 1))
        yield unseen, np.full(len(histories), "catalogue", dtype=object)

    def _step(self, name: str, histories: Sequences) -> tuple[Scores, NDArray[np.object_]]:
        return self.parts[name].score(histories), np.full(len(histories), name, dtype=object)

    def _rank(
        self, histories: Sequences, barred: NDArray[np.bool_], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.object_]]:
        users = len(histories)
        items, scores = np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)
        sources = np.full((users, k), "", dtype=object)
        barred = barred.copy()
        for offered, names in self._tiers(histories, ~hides(histories, barred)):
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
        for scores, names in self._tiers(history, np.array([item in history.item])):
            if np.isfinite(scores[0, item]):
                return self.why(history, item, str(names[0]))
        raise AssertionError("the last tier knows every item")

    def why(self, history: Sequences, item: int, source: str) -> tuple[Reason, ...]:
        """The reasons of the first source that knows the item, the heaviest first."""
        weights = self._blend.of(AGAIN if item in history.item else NEW, int(buckets(history)[0]))
        for name in sorted(source.split("+"), key=lambda name: -weights.get(name, 0.0)):
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
        return {"mix": self.mix, "own": dict(self.own), "parts": heads}, arrays

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        # Models from before weights had buckets hold only the overall ones.
        mixes = {"": values["mix"], **values.get("own", {})}
        read = {where: {name: float(weight) for name, weight in mix.items()} for where, mix in mixes.items()}
        self._blend, self.parts = Blend(read.pop(""), read), {}
        for head in values["parts"]:
            prefix = head["name"] + "/"
            own = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
            self.parts[head["name"]] = Recommender.from_state(head, own)


def _trials(parts: Mapping[str, Recommender], names: Sequence[str], holdout: Holdout, logits: Scores | None) -> Trials:
    """What the sources ``names`` say to the held-out customers, block by block; ``logits`` [V, I] are the Transformer's."""
    found = []
    step = int(min(BLOCK, max(1, BLOCK_CELLS // len(holdout.train.items))))
    for start in range(0, len(holdout.histories), step):
        rows = np.arange(start, min(start + step, len(holdout.histories)))
        first, last = holdout.offsets[rows[0]], holdout.offsets[rows[-1] + 1]
        part = replace(
            holdout,
            histories=holdout.histories.rows(rows),
            offsets=holdout.offsets[rows[0] : rows[-1] + 2] - first,
            items=holdout.items[first:last],
        )
        scores = {
            name: logits[rows] if name == "transformer" and logits is not None else parts[name].score(part.histories) for name in names
        }
        read = {name: logs(each, logits=name == "transformer") for name, each in scores.items()}
        found.append(Trials.of(read, either(scores.values()), part))
    return Trials.joined(found)


def _strangers(log: Sequences, holdout: Holdout, weights: NDArray[np.float64], *, seed: int, most: int) -> Holdout | None:
    """Customers of the held-out stretch who had done nothing before it; None when they are too few to tell."""
    offsets, _ = distinct(log, weights)
    rows = np.flatnonzero((np.diff(offsets) > 0) & (np.diff(distinct(holdout.train, weights)[0]) == 0))
    if len(rows) < STRANGERS:
        return None
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    offsets, items = distinct(log.rows(rows), weights)
    return Holdout(holdout.train, holdout.train.rows(rows), offsets, items, repeats=False)


PLUGIN = Fallback
