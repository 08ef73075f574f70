"""The blend that learns from shown lists: LightGBM's LambdaRank over the scores of several recommenders.

LambdaMART (Burges 2010) optimises the order inside each list directly; the place where an item was shown is given to LightGBM as a
position with an effect of its own, so that what was on top is not held to be good because of it (Unbiased LambdaMART, Hu et al. 2019). It
needs lists that were really shown; as long as there are none, ``fallback`` blends the same sources with weights tuned on events.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn import _store
from tradewind.learn._ranker_calibration import latest
from tradewind.learn._ranker_features import pair_scores, place
from tradewind.learn._ranker_rows import Rows, Vocabulary, as_known, pieces
from tradewind.learn.base import Recommender
from tradewind.learn.impressions import candidates, impressions
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule, check
from tradewind.stats import bootstrap
from tradewind.types import Estimate, from_micros, micros

if TYPE_CHECKING:
    import pyarrow as pa

Values = NDArray[np.float64]
LISTS = 100  # with a click and an item that was passed over; fewer teach nothing that a tuned weight does not know
GAIN = (0, 1, 4)  # of nothing, a click, a click with a purchase
STEP = 10


class LambdaRank:
    """Scores for ordering the candidates of one list. ``sources`` of :meth:`fit` are fitted recommenders by name.

    Features per source: its score, whether it knows the item, and its rank within the list; beside them the length of
    the history. How many trees are used is settled on the latest ``held`` share of the lists by time, then all are learned from.

    When not to use: for probabilities (``Ranker`` has them); when shown lists were never anything but one source's order: then it can
    only learn to agree with that source.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "trees": Number(STEP, 100_000, whole=True),
        "leaves": Number(2, 1024, whole=True),
        "rate": Number(1e-4, 1),
        "min_leaf": Number(1, 1_000_000, whole=True),
        "held": Number(0.05, 0.9),
        "threads": Number(1, 1024, whole=True),
        "seed": Number(0, 2**31, whole=True),
    }

    def __init__(
        self,
        *,
        trees: int = 200,
        leaves: int = 8,
        rate: float = 0.05,
        min_leaf: int = 100,
        held: float = 0.2,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.trees, self.leaves, self.rate, self.min_leaf = trees, leaves, rate, min_leaf
        self.held, self.threads, self.seed = held, threads, seed

    def fit(self, shown: pa.Table, log: Sequences, sources: Mapping[str, Recommender], *, as_of: datetime) -> Self:
        """Learn from the lists in ``shown`` (columns of ``impressions.IMPRESSIONS``) before ``as_of``.

        Raises
        ------
        InputError
            A source learned from what came after the first list; fewer than ``LISTS`` lists have a click and an item without one; or
            the table breaks a rule of ``impressions``.
        """
        check("LambdaRank", {name: getattr(self, name) for name in self.rules}, self.rules)
        if not sources:
            raise InputError('LambdaRank.fit: sources is empty. Give fitted recommenders by name, for example {"graph": graph}.')
        table, _ = as_known(impressions(shown), micros(as_of), None)
        first = int(table["at"].cast("int64").to_numpy().min())
        for name, source in sources.items():
            if source.as_of > first:
                raise InputError(
                    f'LambdaRank.fit: the source "{name}" learned until {from_micros(source.as_of).isoformat()}, and the first list was '
                    f"shown {from_micros(first).isoformat()}: it knows the answers. Fit the sources before the first list."
                )
        self.sources = dict(sources)
        x, rows = self._features(table, log.before(as_of))
        gain = (rows.click + rows.conversion).astype(np.int64)
        taught = _contrasts(rows.request, gain)
        lists = len(np.unique(rows.request[taught]))
        if lists < LISTS:
            raise InputError(
                f"LambdaRank.fit: {lists:,} of {len(np.unique(rows.request)):,} shown lists have both a click and an item without one; it "
                f"needs {LISTS} of them. Log more shown lists (columns at, customer, item, position, click, request), and until "
                'then use the blend that is tuned on events: recommend="fallback".'
            )
        late = latest(rows.at, self.held)
        used = self.trees
        if (taught & late).any() and (taught & ~late).any():
            trial = self._train(x[taught & ~late], rows.take(taught & ~late), gain[taught & ~late], self.trees)
            rest = taught & late
            choices = range(STEP, self.trees + 1, max(STEP, self.trees // 20))
            used = max(choices, key=lambda n: float(np.mean(ndcg(self._scored(trial, x[rest], n), gain[rest], rows.request[rest]))))
        self._booster = self._train(x[taught], rows.take(taught), gain[taught], used)
        self.as_of, self.lists, self.used = micros(as_of), lists, used
        return self

    def score(self, shown: pa.Table, log: Sequences) -> Values:
        """Higher is better within one list, float64 [N]; ``shown`` has at, customer, item, and request where one customer has several
        lists at one moment. Positions are not looked at.

        Raises
        ------
        NotFitted
            ``fit`` or ``load`` was not called.
        """
        if not hasattr(self, "_booster"):
            raise NotFitted("LambdaRank has not learned yet. Call fit(shown, log, sources, as_of=...) or load(path) first.")
        x, _ = self._features(candidates(shown), log)
        return self._scored(self._booster, x, None)

    def importance(self) -> dict[str, float]:
        """Share of the gain of each feature, greatest first."""
        gain, names = self._booster.feature_importance("gain"), self._booster.feature_name()
        return {names[i]: float(gain[i] / max(gain.sum(), 1e-12)) for i in np.argsort(-gain, kind="stable")}

    def save(self, path: Path) -> None:
        """Write itself and its sources to the folder ``path``: JSON and npz, no pickle."""
        heads, arrays = {}, _store.pack("trees", [self._booster.model_to_string()])
        for name, source in self.sources.items():
            heads[name], own = source.state()
            arrays |= {f"{name}/{key}": array for key, array in own.items()}
        about = {"as_of": self.as_of, "lists": self.lists, "used": self.used}
        params = {name: getattr(self, name) for name in self.rules}
        _store.write(Path(path), {"name": "lambdarank", "params": params, "sources": heads, "order": list(heads)} | about, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`: equal scores to the bit.

        Raises
        ------
        InputError
            There is no LambdaRank in ``path``.
        """
        import lightgbm

        head, arrays = _store.read(Path(path))
        if head.get("name") != "lambdarank":
            raise InputError(f'{path} holds the model "{head.get("name")}", not "lambdarank".')
        model = cls(**head["params"])
        model.as_of, model.lists, model.used = int(head["as_of"]), int(head["lists"]), int(head["used"])
        model.sources = {name: Recommender.from_state(head["sources"][name], pieces(arrays, f"{name}/")) for name in head["order"]}
        model._booster = lightgbm.Booster(model_str=str(_store.unpack("trees", arrays)[0]))
        return model

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def _features(self, table: pa.Table, log: Sequences) -> tuple[NDArray[np.float32], Rows]:
        columns: list[NDArray[Any]] = []
        for source in self.sources.values():
            known = Vocabulary(
                source.items, source.categories, np.full(len(source.items), -1, np.int32), np.full(len(source.items), -1, np.int8)
            )
            rows = Rows.of(table, known.aligned(log), known)
            score = pair_scores(rows, source)
            says = np.isfinite(score)
            columns += [np.where(says, score, np.nan), says, ranks(np.where(says, score, -np.inf), rows.request)]
        first = rows.log.offsets[np.maximum(rows.row, 0)] if len(rows.log) else rows.end
        columns.append(np.where(rows.row >= 0, rows.end - first, 0))
        return np.column_stack(columns).astype(np.float32), rows

    def _train(self, x: NDArray[np.float32], rows: Rows, gain: NDArray[np.int64], count: int) -> Any:
        import lightgbm

        order = np.argsort(rows.request, kind="stable")
        _, sizes = np.unique(rows.request[order], return_counts=True)
        names = [f"{source}_{what}" for source in self.sources for what in ("score", "knows", "rank")] + ["history"]
        data = lightgbm.Dataset(x[order], gain[order], group=sizes, position=place(rows.position[order]), feature_name=names)
        settings = {
            "objective": "lambdarank", "label_gain": list(GAIN), "lambdarank_truncation_level": 30, "num_leaves": self.leaves,
            "learning_rate": self.rate, "min_data_in_leaf": self.min_leaf, "lambda_l2": 1.0, "lambdarank_position_bias_regularization": 1.0,
            "seed": self.seed, "deterministic": True, "force_row_wise": True, "num_threads": self.threads, "verbosity": -1,
        }  # fmt: skip
        return lightgbm.train(settings, data, num_boost_round=count)

    def _scored(self, booster: Any, x: NDArray[np.float32], count: int | None) -> Values:
        found: Values = booster.predict(x, raw_score=True, num_iteration=count, num_threads=self.threads)
        return found


def ranks(score: NDArray[Any], request: NDArray[np.int64]) -> Values:
    """1 + how many rows of the same list have a higher score: ties share the best rank, so that the order given says nothing."""
    order = np.lexsort((-score, request))
    first, _ = _ties(score[order], request[order])
    found = np.empty(len(score))
    found[order] = first
    return found


def ndcg(score: NDArray[Any], gain: NDArray[np.int64], request: NDArray[np.int64]) -> Values:
    """NDCG of each list (in the order of the list numbers) over all its items; 1 where nothing was clicked.

    ``gain`` is 0, 1 (click) or 2 (click and purchase), worth ``GAIN``. Ties count as a random order (McSherry and Najork 2008).
    """
    worth = np.asarray(GAIN, dtype=np.float64)[gain]
    _, which = np.unique(request, return_inverse=True)
    top, bottom = (np.bincount(which, weights=worth * _discounts(by, request)) for by in (score, worth))
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 1.0)


def _discounts(score: NDArray[Any], request: NDArray[np.int64]) -> Values:
    """1 / log2(1 + rank), averaged over the ranks that tied rows share."""
    order = np.lexsort((-score, request))
    first, last = _ties(score[order], request[order])
    total = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, last.max(initial=1) + 2)))))
    found = np.empty(len(score))
    found[order] = (total[last] - total[first - 1]) / (last - first + 1)
    return found


def _ties(score: NDArray[Any], request: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last rank (from 1) of the run of equal scores of each row; rows sorted by list, then falling score."""
    listed = np.concatenate(([True], request[1:] != request[:-1])) if len(score) else np.empty(0, bool)
    run = listed | np.concatenate(([True], score[1:] != score[:-1])) if len(score) else listed
    starts, runs = np.flatnonzero(listed), np.flatnonzero(run)
    size = np.diff(np.append(runs, len(score)))
    begin = starts[np.cumsum(listed)[runs] - 1] if len(runs) else runs
    first = runs - begin + 1
    return np.repeat(first, size), np.repeat(first + size - 1, size)


def compared(score: NDArray[Any], base: NDArray[Any], gain: NDArray[np.int64], request: NDArray[np.int64], *, seed: int) -> Estimate:
    """Mean NDCG of ``score`` minus that of ``base`` over the lists with a click, with the paired interval over lists."""
    clicked = np.isin(request, request[gain > 0])
    ours, theirs = (ndcg(each[clicked], gain[clicked], request[clicked]) for each in (score, base))
    return bootstrap.difference(ours, theirs, name="ndcg_gain", seed=seed)


def _contrasts(request: NDArray[np.int64], gain: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of lists that hold at least two different answers."""
    _, which = np.unique(request, return_inverse=True)
    low, high = np.full(which.max() + 1, 9), np.full(which.max() + 1, -1)
    np.minimum.at(low, which, gain)
    np.maximum.at(high, which, gain)
    found: NDArray[np.bool_] = (low < high)[which]
    return found
