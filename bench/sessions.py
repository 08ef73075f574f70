"""What does a visitor look at next? Diginetica, sessions without names, the full catalogue ranked.

The published protocol (SR-GNN's preprocessing): every test session of the last week is asked at every position, the answer is the next
item, items of the session may come again; P@20 and MRR@20 (0 below place 20), in percent. Published, as remembered and not looked up
again: SR-GNN 50.73 / 17.59, GCE-GNN 54.22 / 19.04. The files hold sessions in the order of their dates, so time is the line's number,
spread over ``--days``.

1. Every model of the shelf, learned from all training sessions.
2. The last 8 % of the training sessions are held out and the models learn from the rest: there the weights of a log-linear blend are found,
   and LightGBM learns to order what session_knn and item_knn propose (LambdaMART; its trees are counted on 30 % of these sessions). Then
   the models learn again from all training sessions, and the test is ranked once.

    python bench/sessions.py [--quick] [--path FOLDER] [--only order] [--validate] [--deep gru]

FOLDER holds diginetica_train_sessions.txt ("item item ...", a session a line) and diginetica_test.txt ("item item ...<tab>answer").
Settings of the models were chosen by their figures on such held-out sessions, which ``--validate``
prints with the test file closed. Intervals resample whole sessions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.sparse  # noqa: F401 - loading it is no part of any model's time
from _harness import ROOT, Harness, clock, peak_mib
from numpy.typing import NDArray

from tradewind import plugins
from tradewind.learn._blend import GRID
from tradewind.learn.als import Als
from tradewind.learn.base import Recommender
from tradewind.learn.graph import Graph
from tradewind.learn.item_knn import ItemKnn, largest
from tradewind.learn.popular import Popular
from tradewind.learn.recent import Recent
from tradewind.learn.sequences import Sequences
from tradewind.learn.session_knn import SessionKnn
from tradewind.learn.user_knn import UserKnn
from tradewind.stats import bootstrap
from tradewind.types import from_micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
FILES = ("diginetica_train_sessions.txt", "diginetica_test.txt")
DAY, MINUTE = 86_400_000_000, 60_000_000
K, BLOCK = 20, 256
HELD, PART = 0.08, 0.7  # of the training sessions; of them to learn the order from
PROMPTS = 20_000  # held-out prefixes that the order is learned from
TREES = (50, 100, 150)
VIEWS = {"view": 1.0}
TARGETS = {"p20": 54.2, "mrr20": 19.0}
Floats = NDArray[np.float32]
Neighbours = ItemKnn | SessionKnn

NEAR: dict[str, Any] = {"neighbours": 300, "shrinkage": 2.0, "source": 0.6, "target": 0.4, "recency": 1.0, "itself": 1.0, "weights": VIEWS}
SHELF: dict[str, Callable[[], Recommender]] = {
    "popular": lambda: Popular(half_life=100_000, weights=VIEWS),
    "recent": lambda: Recent(weights=VIEWS),
    "als": lambda: Als(recency=0.7, weights=VIEWS),
    "user_knn": lambda: UserKnn(weights=VIEWS),
    "graph": lambda: Graph(weights=VIEWS),
}
# What the order is learned from: a model, and how many of the last events it is asked with (None: all).
SOURCES: dict[str, tuple[str, int | None]] = {
    "session_knn": ("session_knn", None),
    "what_followed": ("what_followed", None),
    "item_knn": ("item_knn", None),
    "item_knn_2": ("item_knn_2", None),
    "session_knn_last": ("session_knn", 1),
    "what_followed_last": ("what_followed", 1),
    "item_knn_last": ("item_knn", 1),
    "item_knn_2_last": ("item_knn_2", 1),
}
NEIGHBOURS: dict[str, Callable[[], Neighbours]] = {
    "item_knn": lambda: ItemKnn(**NEAR),
    "item_knn_2": lambda: ItemKnn(**NEAR, steps=2),
    "session_knn": lambda: SessionKnn(weights=VIEWS),
    "what_followed": lambda: SessionKnn(weights=VIEWS, backward=0.0, itself=0.0),
}
BLENDED = ("session_knn", "item_knn", "item_knn_2")
PROPOSING = ("session_knn", "item_knn_2")
FACTS = ("count", "recent", "lately", "trend", "first", "last", "again", "ends")
PLACES = ("back", "times", "length", "distinct", "asked_count", "asked_again", "proposed")


@dataclass(frozen=True)
class Asked:
    """Histories, the wanted item of each (column of the catalogue; -2: not there), and which session each belongs to."""

    histories: Sequences
    wanted: NDArray[np.int64]
    session: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.wanted)

    def rows(self, index: NDArray[np.int64]) -> Asked:
        return Asked(self.histories.rows(index), self.wanted[index], self.session[index])

    def blocks(self) -> Iterator[Asked]:
        for start in range(0, len(self), BLOCK):
            yield self.rows(np.arange(start, min(start + BLOCK, len(self))))


def main() -> None:
    bench = Harness(
        "sessions",
        __doc__,
        extra={
            "--validate": {"action": "store_true", "help": "stop at the validation; the test file stays closed"},
            "--only": {"choices": ("shelf", "order"), "help": "run one half"},
            "--order": {"type": Path, "help": "a file to keep the learned order in, and to read it from when it is there"},
            "--candidates": {"type": int, "default": 100, "help": "items that are ordered for each prefix"},
            "--deep": {"nargs": "*", "default": [], "help": "deep models to add to the shelf: gru, transformer; long on a CPU"},
            "--size": {"default": "small", "help": "of the deep models"},
            "--epochs": {"type": int, "help": "of the deep models, at most"},
            "--days": {"type": float, "default": 145.0, "help": "length of the training period"},
        },
    )
    folder = bench.arguments.path or DATA / "diginetica"
    if not all((folder / name).exists() for name in FILES):
        print(f"left out: {folder} does not hold {' and '.join(FILES)}; name such a folder by --path")
        bench.finish()
        return
    sessions = [line.split() for line in (folder / FILES[0]).read_text(encoding="utf-8").splitlines()]
    sessions = sessions[-12_000:] if bench.quick else sessions
    print(f"{len(sessions):,} training sessions, {sum(map(len, sessions)):,} events; test: {folder / FILES[1]}")
    only = "order" if bench.arguments.validate else bench.arguments.only
    kept = bench.arguments.order
    if only != "shelf":
        mix, order = stored(kept) if kept and kept.exists() and not bench.arguments.validate else learn(bench, sessions)
    if not bench.arguments.validate:
        train = told(sessions, "s", days=bench.arguments.days)
        asked = test_of(folder / FILES[1], train, most=2_000 if bench.quick else None)
        bench.figure("test_prefixes", len(asked))
        if only != "shelf":
            judge(bench, train, asked, mix, order)
        if only != "order":
            shelf(bench, train, asked)
    bench.figure("peak_mib", peak_mib())
    bench.finish()


# ---- the two halves --------------------------------------------------------------------------------------------------


def learn(bench: Harness, sessions: list[list[str]]) -> tuple[dict[str, float], Any]:
    """The blend's weights and the learned order, from held-out training sessions."""
    import lightgbm

    rng = np.random.default_rng(bench.arguments.seed)
    held = round(HELD * len(sessions))
    train = told(sessions[:-held], "s", days=bench.arguments.days * (1 - HELD))
    asked = prompts(train, sessions[-held:])
    part = rng.random(held) < PART
    learned = np.flatnonzero(part[asked.session])
    learned = np.sort(rng.choice(learned, min(len(learned), 1500 if bench.quick else PROMPTS), replace=False))
    checked = np.flatnonzero(~part[asked.session])
    checked = np.sort(rng.choice(checked, min(len(checked), 500 if bench.quick else 6_000), replace=False))
    with clock() as taken:
        models = {name: make().fit(train, as_of=end(train)) for name, make in NEIGHBOURS.items()}
    bench.figure("validation_fit_cpu_s", taken["cpu"])
    with clock() as taken:
        first, second = (Table.of(models, train, asked.rows(rows), bench.arguments.candidates) for rows in (learned, checked))
    bench.figure("validation_candidates_ms_per_prefix", taken["cpu"] * 1e3 / (len(learned) + len(checked)))
    bench.figure("validation_prefixes", len(checked))
    bench.figure("validation_proposed", 100 * float(second.hit.any(axis=1).mean()))
    mix = weigh(first)
    bench.figure("blend", ", ".join(f"{name} {weight:g}" for name, weight in mix.items() if weight))
    found = {name: measures(places(second.share(name), second.hit)) for name in SOURCES}
    found["blend"] = measures(places(second.blend(mix), second.hit))
    with clock() as taken:
        trees = first.train(lightgbm, max(TREES), seed=bench.arguments.seed)
    tried = {count: measures(places(second.order(trees, count), second.hit)) for count in TREES}
    count = max(TREES, key=lambda trees: sum(tried[trees].values()))
    found["ranker"] = tried[count]
    for name, values in found.items():
        for measure, value in values.items():
            bench.figure(f"validation_{name}_{measure}", value)
    trees.best_iteration = count  # what it predicts with from here on
    bench.figure("ranker_trees", count)
    bench.figure("ranker_cpu_s", taken["cpu"])
    gain = zip(trees.feature_importance("gain"), trees.feature_name(), strict=True)
    bench.figure("ranker_uses", ", ".join(name for _, name in sorted(gain, reverse=True)[:10]))
    if bench.arguments.order:
        trees.save_model(bench.arguments.order, num_iteration=count)
        Path(f"{bench.arguments.order}.mix").write_text(json.dumps(mix), encoding="utf-8")
    return mix, trees


def stored(path: Path) -> tuple[dict[str, float], Any]:
    """What ``--order`` kept."""
    import lightgbm

    return json.loads(Path(f"{path}.mix").read_text(encoding="utf-8")), lightgbm.Booster(model_file=path)


def weigh(table: Table) -> dict[str, float]:
    """Weights of the log-linear blend by coordinate ascent on the mean of P@20 and MRR@20, from equal weights on."""
    mix = dict.fromkeys(BLENDED, 1.0)
    best = sum(measures(places(table.blend(mix), table.hit)).values())
    for name, weight in [(name, weight) for _ in range(2) for name in BLENDED for weight in GRID]:
        trial = {**mix, name: weight}
        if any(trial.values()) and (reached := sum(measures(places(table.blend(trial), table.hit)).values())) > best:
            best, mix = reached, trial
    return mix


def judge(bench: Harness, train: Sequences, asked: Asked, mix: Mapping[str, float], trees: Any) -> None:
    """The blend and the learned order on the test."""
    models = {name: make().fit(train, as_of=end(train)) for name, make in NEIGHBOURS.items()}
    found: dict[str, list[NDArray[np.int64]]] = {"blend": [], "ranker": []}
    with clock() as taken:
        for block in asked.blocks():
            table = Table.of(models, train, block, bench.arguments.candidates)
            found["blend"].append(places(table.blend(mix), table.hit))
            found["ranker"].append(places(table.order(trees), table.hit))
    bench.figure("ranker_ms_per_prefix", taken["cpu"] * 1e3 / len(asked))
    for name, parts in found.items():
        tell(bench, name, np.concatenate(parts), asked, targets=TARGETS if name == "ranker" else {})


def shelf(bench: Harness, train: Sequences, asked: Asked) -> None:
    """Every model alone on the test."""
    deep = {name: lambda name=name: a_deep(bench, name) for name in bench.arguments.deep}
    for name, make in {**SHELF, **NEIGHBOURS, **deep}.items():
        with clock() as taken:
            model = make().fit(train, as_of=end(train))
        bench.figure(f"{name}_fit_cpu_s", taken["cpu"])
        same = "cold_customers" in model.tags  # popularity: one list for everybody
        with clock() as taken:
            histories = asked.histories.rows(np.zeros(1, np.int64)) if same else asked.histories
            lists = model.recommend(histories, k=K, exclude_seen=False).items
        bench.figure(f"{name}_ms_per_answer", taken["cpu"] * 1e3 / len(lists))
        hit = np.broadcast_to(lists, (len(asked), K)) == asked.wanted[:, None]
        tell(bench, name, np.where(hit.any(axis=1), hit.argmax(axis=1), K), asked)


def a_deep(bench: Harness, name: str) -> Recommender:
    """A deep model under test."""
    chosen = bench.arguments
    model: Recommender = plugins.load("learn", name, what="model")(
        size="tiny" if bench.quick else chosen.size, epochs=2 if bench.quick else chosen.epochs, seed=chosen.seed, weights=VIEWS
    )
    return model


def tell(bench: Harness, name: str, found: NDArray[np.int64], asked: Asked, *, targets: Mapping[str, float] | None = None) -> None:
    """P@20 and MRR@20 in percent with intervals over sessions."""
    sizes = np.bincount(asked.session).astype(np.float64)
    for measure, values in zip(("p20", "mrr20"), per_prefix(found), strict=True):
        around = bootstrap.ratio(np.bincount(asked.session, values), sizes, name=measure, seed=bench.arguments.seed, draws=400)
        floor = (targets or {}).get(measure)
        bench.figure(f"{name}_{measure}", 100 * around.value, target=None if floor is None else (">=", floor))
        bench.figure(f"{name}_{measure}_interval", f"{100 * (around.low or 0):.2f}..{100 * (around.high or 0):.2f}")


# ---- candidates and what is known about them -------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Features float32 [V, C, F] of C candidates for V prefixes, best proposal first, and which one was wanted, bool [V, C]."""

    features: Floats
    items: NDArray[np.int64]
    hit: NDArray[np.bool_]

    @classmethod
    def of(cls, models: Mapping[str, Neighbours], train: Sequences, asked: Asked, count: int) -> Table:
        facts = facts_of(train)
        parts = [_block(models, facts, block, min(count, len(train.items))) for block in asked.blocks()]
        items = np.concatenate([items for items, _ in parts])
        return cls(np.concatenate([features for _, features in parts]), items, items == asked.wanted[:, None])

    def share(self, name: str) -> Floats:
        """Log of the share that a source gives to each candidate."""
        values: Floats = self.features[:, :, list(SOURCES).index(name)]
        return values

    def blend(self, mix: Mapping[str, float]) -> Floats:
        total: Floats = np.sum([np.float32(weight) * self.share(name) for name, weight in mix.items()], axis=0)
        return total

    def train(self, lightgbm: Any, trees: int, *, seed: int) -> Any:
        """LambdaMART on the prefixes whose answer is among the candidates."""
        able = self.hit.any(axis=1)
        rows = self.features[able].reshape(-1, self.features.shape[2])
        groups = np.full(int(able.sum()), self.hit.shape[1])
        names = [*SOURCES, *(f"{name}_to_best" for name in SOURCES), *FACTS, *PLACES]
        data = lightgbm.Dataset(rows, self.hit[able].ravel().astype(np.int8), group=groups, feature_name=names)
        settings = {
            "objective": "lambdarank",
            "lambdarank_truncation_level": K + 5,
            "learning_rate": 0.1,
            "num_leaves": 31,
            "min_data_in_leaf": 200,
            "feature_fraction": 0.6,
            "num_threads": 1,
            "verbose": -1,
            "seed": seed,
            "deterministic": True,
        }
        return lightgbm.train(settings, data, num_boost_round=trees)

    def order(self, trees: Any, count: int | None = None) -> Floats:
        flat = trees.predict(self.features.reshape(-1, self.features.shape[2]), num_iteration=count, num_threads=1)
        scores: Floats = flat.reshape(self.hit.shape).astype(np.float32)
        return scores


def _block(models: Mapping[str, Neighbours], facts: Floats, asked: Asked, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Candidates [B, C] and their features [B, C, F]."""
    short = {last: asked.histories if last is None else asked.histories.last(last) for last in {last for _, last in SOURCES.values()}}
    shares = {name: _shares(models[model], short[last]) for name, (model, last) in SOURCES.items()}
    items, proposed = _best(sum(shares[name] for name in PROPOSING), count)
    place = np.zeros((len(items), len(facts)), np.int16)
    np.put_along_axis(place, items, np.arange(1, items.shape[1] + 1, dtype=np.int16)[None, :], axis=1)
    columns: list[Any] = [np.log(_at(each, place, items.shape[1]) + np.float32(1e-7)) for each in shares.values()]
    columns += [values - values.max(axis=1, keepdims=True) for values in columns]
    columns += list(facts[items].transpose(2, 0, 1))
    columns += [np.broadcast_to(values, items.shape) for values in _places(asked.histories, items, facts)]
    columns.append(proposed)
    return items, np.stack(columns, axis=2).astype(np.float32)


def _shares(model: Neighbours, histories: Sequences) -> Any:
    """The scores of each row divided by their sum, as a sparse float32 [B, I]: far quicker than dense scores."""
    found = model._offers(model._aligned(histories))  # noqa: SLF001
    owner = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    total = np.maximum(np.bincount(owner, found.data, minlength=found.shape[0]), 1e-30)
    found.data = (found.data / total[owner]).astype(np.float32)
    return found


def _best(proposals: Any, count: int) -> tuple[NDArray[np.int64], Floats]:
    """The best columns of each sparse row, best first, and their values, [B, count]; where they run out, unheard ones with 0."""
    best = largest(proposals, count)
    owner = np.repeat(np.arange(best.shape[0]), np.diff(best.indptr))
    order = np.lexsort((best.indices, -best.data, owner))
    place = np.arange(len(order)) - best.indptr[owner]
    order, owner, place = order[place < count], owner[place < count], place[place < count]
    items, values = np.full((best.shape[0], count), -1, np.int64), np.zeros((best.shape[0], count), np.float32)
    items[owner, place], values[owner, place] = best.indices[order], best.data[order]
    for row in np.flatnonzero((items < 0).any(axis=1)):
        free = np.setdiff1d(np.arange(2 * count), items[row])
        items[row, items[row] < 0] = free[: int((items[row] < 0).sum())]
    return items, values


def _at(shares: Any, place: NDArray[np.int16], count: int) -> Floats:
    """Entries of a sparse [B, I] for the candidates, [B, C]; ``place`` [B, I] says which candidate a column is, from 1, 0 for none."""
    owner = np.repeat(np.arange(shares.shape[0]), np.diff(shares.indptr))
    column = place.ravel().take(owner * shares.shape[1] + shares.indices)
    kept = np.flatnonzero(column)
    found: Floats = np.zeros((shares.shape[0], count), np.float32)
    found[owner[kept], column[kept] - 1] = shares.data[kept]
    return found


def _places(histories: Sequences, items: NDArray[np.int64], facts: Floats) -> list[NDArray[Any]]:
    """Per candidate: events since it stood in the session (99: never) and how often; per prefix: length, distinct items, its last item."""
    known = histories.keep(histories.item >= 0)
    width = int(known.lengths.max(initial=1))
    step = np.arange(width)
    real = step < known.lengths[:, None]
    newest = np.where(real, known.item[np.where(real, known.offsets[1:, None] - 1 - step, 0)], -1)  # [B, L], the last event first
    same = items[:, :, None] == newest[:, None, :]
    back = np.where(same.any(axis=2), same.argmax(axis=2), 99)
    ascending = np.sort(newest, axis=1)
    fresh = (np.diff(ascending, axis=1, prepend=-1) != 0).sum(axis=1)
    last = facts[np.maximum(newest[:, 0], 0)]
    return [back, same.sum(axis=2), known.lengths[:, None], fresh[:, None], last[:, [0]], last[:, [FACTS.index("again")]]]


def facts_of(train: Sequences) -> Floats:
    """What the log says about every item, float32 [I, FACTS]; ages are shares of the training period."""
    size, item, owner = len(train.items), train.item, train.owner
    age = (train.at.max() - train.at) / max(int(train.at.max() - train.at.min()), 1)
    count = np.bincount(item, minlength=size)
    recent, lately = (np.bincount(item[age < share], minlength=size) / share for share in (0.03, 0.1))
    first, last = np.zeros(size), np.ones(size)
    np.maximum.at(first, item, age)
    np.minimum.at(last, item, age)
    follows = np.append((item[1:] == item[:-1]) & (owner[1:] == owner[:-1]), False)
    closes = np.append(owner[1:] != owner[:-1], True)
    again = np.bincount(item[follows], minlength=size) / (count + 1)
    ends = (np.bincount(item[closes], minlength=size) + 1) / (count + 4)
    trend = np.log((recent + 10) / (count + 10))
    return np.column_stack([np.log1p(count), np.log1p(recent), np.log1p(lately), trend, first, last, again, ends]).astype(np.float32)


# ---- measures --------------------------------------------------------------------------------------------------------


def places(scores: Floats, hit: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The place (from 0) of the wanted candidate in each row, ties by the earlier column; at least K where it is not there."""
    wanted = np.where(hit, scores, -np.inf).max(axis=1, keepdims=True)
    ahead = (scores > wanted) | ((scores == wanted) & (np.cumsum(hit, axis=1) == 0))
    found: NDArray[np.int64] = np.where(hit.any(axis=1), ahead.sum(axis=1), K)
    return found


def per_prefix(found: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whether the answer is among the first K, and the reciprocal of its place there."""
    inside = found < K
    return inside.astype(np.float64), np.where(inside, 1 / (found + 1.0), 0.0)


def measures(found: NDArray[np.int64]) -> dict[str, float]:
    """P@20 and MRR@20 in percent."""
    return {name: 100 * float(values.mean()) for name, values in zip(("p20", "mrr20"), per_prefix(found), strict=True)}


# ---- reading ---------------------------------------------------------------------------------------------------------


def told(
    sessions: Sequence[Sequence[str | None]], prefix: str, *, days: float, since: int = 0, items: NDArray[np.object_] | None = None
) -> Sequences:
    """Sessions as the histories of as many customers, a minute between two events."""
    lengths = [len(session) for session in sessions]
    began = since + (np.arange(len(sessions)) * (days * DAY / max(len(sessions), 1))).astype(np.int64)
    names = np.repeat([f"{prefix}{number:07d}" for number in range(len(sessions))], lengths)
    step = np.arange(sum(lengths)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat = [item for session in sessions for item in session]
    vocabulary = None if items is None else list(items)
    return Sequences.from_arrays(names.tolist(), item=flat, at=np.repeat(began, lengths) + step * MINUTE, kind="view", items=vocabulary)


def end(train: Sequences) -> Any:
    return from_micros(int(train.at.max()) + 1)


def prompts(train: Sequences, sessions: list[list[str]]) -> Asked:
    """Every prefix of later sessions, prepared as the published test was: items that training lacks are taken out."""
    known = set(train.items)
    kept = [[item for item in session if item in known] for session in sessions]
    pairs = [(session[:n], session[n], number) for number, session in enumerate(kept) for n in range(1, len(session))]
    return _asked(train, [prefix for prefix, _, _ in pairs], [answer for _, answer, _ in pairs], [number for _, _, number in pairs])


def test_of(path: Path, train: Sequences, *, most: int | None) -> Asked:
    """The test file; a line that goes on where the line before was cut by one belongs to the same session."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[:most]]
    prefixes, answers = [line[0].split() for line in lines], [line[1].strip() for line in lines]
    session = [0]
    for row in range(1, len(lines)):
        goes_on = prefixes[row - 1] == [*prefixes[row], answers[row]]
        session.append(session[-1] + (not goes_on))
    return _asked(train, prefixes, answers, session)


def _asked(train: Sequences, prefixes: list[list[str]], answers: list[str], session: list[int]) -> Asked:
    column = {item: code for code, item in enumerate(train.items)}
    known = [[item if item in column else None for item in prefix] for prefix in prefixes]
    histories = told(known, "q", days=0.0, since=int(train.at.max()) + DAY, items=train.items)
    return Asked(histories, np.array([column.get(item, -2) for item in answers]), np.array(session))


if __name__ == "__main__":
    main()
