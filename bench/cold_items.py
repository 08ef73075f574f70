"""How well are items ranked that no customer has touched yet? A seeded tenth of the items is hidden from all training.

Data: a folder in the format of RUCAIBox/LLMRank (default: Amazon games): ``*.item`` with item id and title, ``*.test.inter`` with
user, earlier items and the last item. Files have an order and no times. Items are renamed in a seeded random order first: the
ids of these files are numbered by first occurrence, so their order gives neighbours away, and ties go by index.

Protocol: all events on hidden items leave the log, and everything left is training. Asked is before each event on a hidden item,
with what the user had before (hidden items left out; users without anything are not asked; ``--cases`` of them, drawn by seed),
seen items removed, one wanted item each. "full" ranks the whole catalogue, warm items included; "cold" only the hidden ones.
Later events of the same user on other items stay in training, as in every split by item. Intervals are bootstraps over hidden items,
because the cases of one item stand or fall together. Rows:

* content: ours, the defaults; content_text: the same without what the log teaches (bound=0)
* popular: has no count for a hidden item, so they rank last, ties by index (after the renaming: at random)
* words_popular: the same list for everybody, log popularity of the warm items regressed on the words of their titles; in "cold"
  this is what a shop without a content model can do
* random: a seeded random order

Settings of ``content`` are chosen with ``--validate``, which hides another tenth inside the other nine and never asks for the first.

    python bench/cold_items.py [--quick] [--path FOLDER] [--validate] [--cases N] [--set bound=2 --set dims=256]
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock

from tradewind.learn._content_catalogue import Catalogue
from tradewind.learn.content import Content
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import Sequences
from tradewind.stats import bootstrap
from tradewind.types import Estimate, from_micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
EVER = from_micros(10**15)
BLOCK = 256


@dataclass(frozen=True)
class Cases:
    """V questions: the histories and the one item wanted by each, int64 [V]."""

    histories: Sequences
    wanted: np.ndarray


def main() -> None:
    bench = Harness(
        "cold_items",
        __doc__,
        extra={
            "--validate": {"action": "store_true", "help": "hide a second tenth and ask for that one: to choose settings"},
            "--cases": {"type": int, "default": 20_000, "help": "questions at most"},
            "--set": {"action": "append", "default": [], "help": "name=value: a parameter of content"},
            "--only": {"help": "one row: content, content_text, popular, words_popular or random"},
        },
    )
    folder = bench.arguments.path or DATA / "llmrank_games"
    if not folder.is_dir():
        print(f"left out: {folder} is not there")
        bench.finish()
        return
    log = read(folder, most=6000 if bench.quick else None, seed=bench.arguments.seed)
    hidden, barred = hide(len(log.items), seed=bench.arguments.seed, validate=bench.arguments.validate)
    train = log.keep(~(hidden | barred)[log.item])
    cases = questions(log, train, hidden, most=1000 if bench.quick else bench.arguments.cases, seed=bench.arguments.seed)
    bench.figure("items", len(log.items))
    bench.figure("hidden_items", int(hidden.sum()))
    bench.figure("train_events", len(train.at))
    bench.figure("cases", len(cases.wanted))
    options = {name: json.loads(value) for name, value in (each.split("=", 1) for each in bench.arguments.set)}
    rows = {
        "content": lambda: scorer(Content(**options).fit(train, as_of=EVER)),
        "content_text": lambda: scorer(Content(**options | {"bound": 0.0}).fit(train, as_of=EVER)),
        "popular": lambda: scorer(Popular(half_life=100_000).fit(train, as_of=EVER)),
        "words_popular": lambda: alike(words(train)),
        "random": lambda: alike(np.random.default_rng(bench.arguments.seed + 1).random(len(log.items))),
    }
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, build in rows.items():
        if bench.arguments.only in (None, name):
            found[name] = row(bench, name, build, cases, hidden, barred)
    if bench.arguments.only is None:
        judge(bench, found, cases.wanted)
    bench.finish()


def judge(bench: Harness, found: dict[str, dict[str, np.ndarray]], wanted: np.ndarray) -> None:
    """Content against five times what popularity reaches, and the paired differences."""
    for view, base in (("full", "popular"), ("full", "random"), ("cold", "words_popular")):
        ours, theirs = found["content"][view].mean(), found[base][view].mean()
        ratio = float(ours / theirs) if theirs > 0 else float("inf")
        bench.figure(f"{view}_content_over_{base}", ratio if np.isfinite(ratio) else "infinite: the other is 0")
        if view == "full":
            bench.figure(f"{view}_content_minus_5x_{base}", float(ours - 5 * theirs), target=(">=", 0.0))
    for base in ("words_popular", "content_text"):
        gain = by_item(found["content"]["cold"] - found[base]["cold"], wanted, seed=bench.arguments.seed)
        bench.figure(f"cold_content_minus_{base}", gain.value, target=(">=", 0.0) if base == "words_popular" else None)
        bench.figure(f"cold_content_minus_{base}_interval", f"{gain.low:.4f}..{gain.high:.4f}")


def row(bench: Harness, name: str, build: Any, cases: Cases, hidden: np.ndarray, barred: np.ndarray) -> dict[str, np.ndarray]:
    """NDCG@10 per case in both views, printed with intervals."""
    with clock() as fitting:
        score = build()
    ranks: dict[str, list[np.ndarray]] = {"full": [], "cold": []}
    with clock() as asking:
        for start in range(0, len(cases.wanted), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(cases.wanted)))
            histories, wanted = cases.histories.rows(block), cases.wanted[block]
            scores = np.array(score(histories), dtype=np.float64)
            scores[np.isneginf(scores)] = -1e300  # a model that has nothing to say ranks last, ties by index
            scores[:, barred] = -np.inf
            ranks["cold"].append(places(np.where(hidden, scores, -np.inf), wanted))
            scores[histories.owner, histories.item] = -np.inf
            ranks["full"].append(places(scores, wanted))
    bench.figure(f"{name}_fit_cpu_s", fitting["cpu"])
    bench.figure(f"{name}_ms_per_case", asking["cpu"] * 1e3 / max(len(cases.wanted), 1))
    gains = {}
    for view, parts in ranks.items():
        place = np.concatenate(parts)
        gains[view] = np.where(place < 10, 1 / np.log2(place + 2), 0.0)
        estimate = by_item(gains[view], cases.wanted, seed=bench.arguments.seed)
        bench.figure(f"{name}_{view}_ndcg10", estimate.value)
        bench.figure(f"{name}_{view}_ndcg10_interval", f"{estimate.low:.4f}..{estimate.high:.4f}")
        bench.figure(f"{name}_{view}_recall10", float((place < 10).mean()))
    return gains


def by_item(values: np.ndarray, wanted: np.ndarray, *, seed: int) -> Estimate:
    """Mean over cases; the interval draws hidden items, because the cases of one item stand or fall together."""
    top, bottom = np.bincount(wanted, values), np.bincount(wanted).astype(float)
    return bootstrap.ratio(top[bottom > 0], bottom[bottom > 0], name="ndcg", seed=seed, draws=400)


def places(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Place of the wanted column in each row from 0, ties by index."""
    mine = scores[np.arange(len(wanted)), wanted][:, None]
    earlier = np.arange(scores.shape[1]) < wanted[:, None]
    return (scores > mine).sum(axis=1) + ((scores == mine) & earlier).sum(axis=1)


def scorer(model: Content | Popular) -> Any:
    """The scores of a fitted model."""
    return model.score


def alike(scores: np.ndarray) -> Any:
    """The same scores for everybody."""
    return lambda histories: np.tile(scores, (len(histories), 1))


def words(train: Sequences) -> np.ndarray:
    """Popularity that the words of a title promise: ridge regression of log(1 + count) on the TF-IDF of words, warm items only."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    count = np.bincount(train.item, minlength=len(train.items))
    features = TfidfVectorizer(ngram_range=(1, 2), min_df=2).fit_transform([train.catalogue.texts.get(name, "") for name in train.items])
    model = Ridge(alpha=1.0, solver="sparse_cg").fit(features[count > 0], np.log1p(count[count > 0]))
    return model.predict(features)


def hide(items: int, *, seed: int, validate: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bool [I] twice: the hidden items that are asked for, and those that are neither trained on nor ranked."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(items)
    tenth = items // 10
    test, other = np.zeros(items, dtype=bool), np.zeros(items, dtype=bool)
    test[order[:tenth]] = True
    other[order[tenth : tenth + (items - tenth) // 10]] = True
    return (other, test) if validate else (test, np.zeros(items, dtype=bool))


def questions(log: Sequences, train: Sequences, hidden: np.ndarray, *, most: int, seed: int) -> Cases:
    """One case per event on a hidden item with anything in training before it."""
    event = np.flatnonzero(hidden[log.item])
    owner, before = log.owner[event], np.empty(len(event), np.int64)
    key = train.owner * (int(log.at.max()) + 1) + train.at
    before = np.searchsorted(key, owner * (int(log.at.max()) + 1) + log.at[event]) - train.offsets[owner]
    able = np.flatnonzero(before > 0)
    chosen = np.sort(np.random.default_rng(seed).permutation(able)[:most])
    histories = train.rows(owner[chosen])
    place = np.arange(len(histories.at)) - np.repeat(histories.offsets[:-1], histories.lengths)
    return Cases(histories.keep(place < np.repeat(before[chosen], histories.lengths)), log.item[event[chosen]].astype(np.int64))


def read(folder: Path, *, most: int | None, seed: int) -> Sequences:
    """The folder as a log with titles; the place in a line is the time."""
    [titles_at], [events_at] = sorted(folder.glob("*.item")), sorted(folder.glob("*.test.inter"))
    pairs = [line.rstrip("\n").split("\t", 1) for line in titles_at.read_text(encoding="utf-8").split("\n")[1:] if line]
    order = np.random.default_rng(seed + 100).permutation(len(pairs))
    name = {pairs[old][0]: f"item{new:07d}" for new, old in enumerate(order)}
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    with events_at.open(encoding="utf-8") as lines:
        next(lines)
        for number, line in enumerate(lines):
            if most is not None and number >= most:
                break
            user, earlier, last = line.rstrip("\n").split("\t")
            taken = [name[item] for item in (*earlier.split(), last)]
            users += [user] * len(taken)
            items += taken
            times += range(len(taken))
    texts = {name[item]: title for item, title in pairs}
    return Sequences.from_arrays(users, item=items, at=times, items=sorted(texts), catalogue=Catalogue(texts=texts))


if __name__ == "__main__":
    main()
