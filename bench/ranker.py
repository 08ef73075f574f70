"""How good are probabilities of click and purchase, and is the deep ranker better than LightGBM?

1. A simulated shop whose every probability is known (``_ranker_world.py``): the last 7 days are the test. "truth" is the row of the true
   probabilities: no model can beat its AUC except by luck, and its calibration error is the noise that the test's size leaves; "ece against
   truth" is the error without that noise. Models are compared at the shown positions; the effect of the place is read off with all else
   equal and stands beside the true one.
2. LambdaRank over the scores of popular, graph and user_knn, learned from the same shown lists, against the log-linear blend of the
   same sources: weights tuned on events (what ``fallback`` does) and, harder, weights tuned on the same shown lists. Judged by what
   would have been clicked and bought had everything stood on the first place (drawn from the truth): NDCG within the last 7 days' lists.
3. Calibration alone, on real impressions and the click rates that a bidder predicted for them (iPinYou, three campaigns): isotonic
   regression on the first half of the file, judged on the second.
4. Real impressions of Open Bandit (ZOZOTOWN men; 20,000 rows, fewer than 150 clicks, customers only by hashed features), learned before and
   judged after a moment in time: it shows that real logs go through; the intervals say how little such a sample can tell.

``--path`` reads a table of impressions instead (CSV or Parquet: at, customer, item, position, click; also channel, request, conversion,
converted_at): the last fifth of the time is the test. Clicks and purchases among the impressions are then the only events.

    python bench/ranker.py [--quick] [--path FILE] [--size tiny|small|base] [--seeds N] [--only world|lists|bids|bandit]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _harness import ROOT, Harness, clock
from _ranker_world import DAY, EXAMINED, SHOWN, START, Shown, simulate

from tradewind.learn._blend import GRID, logs, mixed, tune
from tradewind.learn._holdout import held_out
from tradewind.learn._ranker import ImpressionModel
from tradewind.learn._ranker_calibration import Calibration, chance, odds
from tradewind.learn._ranker_features import pair_scores
from tradewind.learn._ranker_rows import Rows, Vocabulary
from tradewind.learn._signal import table as kinds
from tradewind.learn.graph import Graph
from tradewind.learn.impressions import impressions
from tradewind.learn.lambdarank import LambdaRank, compared, ndcg
from tradewind.learn.popular import Popular
from tradewind.learn.ranker import Ranker
from tradewind.learn.ranker_trees import TreeRanker
from tradewind.learn.sequences import Sequences
from tradewind.learn.user_knn import UserKnn
from tradewind.stats import bootstrap
from tradewind.stats.binary import auc, calibration_error, gain, judged, log_loss, normalised_entropy, over_actual
from tradewind.types import from_micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
ECE = 0.005
ENOUGH = 200  # positive answers below which resampling customers says little
TEST_DAYS = 7


def main() -> None:
    bench = Harness(
        "ranker",
        __doc__,
        extra={
            "--size": {"default": "small", "choices": ("tiny", "small", "base"), "help": "of the deep ranker"},
            "--seeds": {"type": int, "default": 1, "help": "simulated shops"},
            "--only": {"choices": ("world", "lists", "bids", "bandit"), "help": "run one part"},
        },
    )
    only = bench.arguments.only
    if bench.arguments.path:
        given(bench, bench.arguments.path)
    else:
        if only not in ("bids", "bandit"):
            for number in range(bench.arguments.seeds):
                world(bench, number, only)
        if only in (None, "bids"):
            bids(bench, DATA / "ipinyou_rlb")
        if only in (None, "bandit"):
            bandit(bench, DATA / "open_bandit")
    bench.finish()


def world(bench: Harness, number: int, only: str | None) -> None:
    """One simulated shop."""
    days = 24 if bench.quick else 40
    shop = simulate(customers=400 if bench.quick else 2500, days=days, seed=bench.arguments.seed + number)
    name = f"world{number}" if bench.arguments.seeds > 1 else "world"
    print(f"{name}: simulated, every probability known")
    if only != "lists":
        compare_in(bench, name, shop, START + (days - TEST_DAYS) * DAY)
    if only != "world":
        lists(bench, f"{name}_lists", shop, START + days * DAY)


def compare_in(bench: Harness, name: str, shop: Shown, cut: int) -> None:
    """Our models beside the truth."""
    at = shop.table["at"].cast(pa.int64()).to_numpy()
    test = at >= cut
    bench.figure(f"{name}_impressions_learned", int((~test).sum()))
    bench.figure(f"{name}_impressions_judged", int(test.sum()))
    bench.figure(f"{name}_click_rate", float(shop.table["click"].to_numpy()[test].mean()))
    shown = shop.table.filter(test)
    truth = {"click": shop.click[test], "conversion": (shop.click * shop.buy)[test]}
    found = compare(bench, name, shop.table, shop.log, cut, shown, truth)
    for label, model in found.items():
        effect = model.position_effect(shown.slice(0, 20_000), shop.log, SHOWN)
        bench.figure(f"{name}_{label}_place_effect", " ".join(f"{value:.2f}" for value in effect))
        bench.figure(f"{name}_{label}_place_effect_error", float(np.abs(effect - EXAMINED).max()))
        flat = model.predict(shown, shop.log).click  # at the first place, as when serving
        bench.figure(f"{name}_{label}_liking_auc", auc(*_liked(shop, test, flat, bench.arguments.seed)))
    bench.figure(f"{name}_true_place_effect", " ".join(f"{value:.2f}" for value in EXAMINED))
    bench.figure(f"{name}_truth_liking_auc", auc(*_liked(shop, test, _liking(shop, test), bench.arguments.seed)))


def _liking(shop: Shown, test: Any) -> Any:
    """True probability of a click at the first place."""
    return shop.click[test] / EXAMINED[shop.table["position"].to_numpy()[test] - 1]


def _liked(shop: Shown, test: Any, score: Any, seed: int) -> tuple[Any, Any]:
    """What would have been clicked, had everything stood on the first place, drawn anew; and a score."""
    return (np.random.default_rng(seed).random(test.sum()) < _liking(shop, test)).astype(float), score


def compare(
    bench: Harness, name: str, table: pa.Table, log: Sequences, cut: int, shown: pa.Table, truth: dict[str, Any] | None
) -> dict[str, ImpressionModel]:
    """Fit both models before ``cut`` and judge them on ``shown``, click and conversion, calibrated and not."""
    seed, draws = bench.arguments.seed, 100
    customers = shown["customer"].fill_null("").to_numpy(zero_copy_only=False)
    labels = {"click": shown["click"].to_numpy().astype(float)}
    if "conversion" in table.column_names and pc.sum(table["conversion"]).as_py():
        labels["conversion"] = shown["conversion"].to_numpy().astype(float)
    for label, p in (truth or {}).items():
        report(bench, f"{name}_truth_{label}", labels[label], p, customers, draws)
    makers: dict[str, Callable[[], ImpressionModel]] = {
        "trees": lambda: TreeRanker(seed=seed),
        "deep": lambda: Ranker(size=bench.arguments.size, seed=seed),
    }
    models, said = {}, {}
    for label, make in makers.items():
        model = make()
        with clock() as taken:
            model.fit(table, log, as_of=from_micros(cut))
        bench.figure(f"{name}_{label}_fit_cpu_s", taken["cpu"])
        with clock() as taken:
            found = model.predict(shown, log, as_shown=True)
        bench.figure(f"{name}_{label}_answer_us_per_row", taken["cpu"] * 1e6 / len(customers))
        raw = model.predict(shown, log, as_shown=True, calibrated=False)
        models[label] = model
        for what, y in labels.items():
            p, before = getattr(found, what), getattr(raw, what)
            said[label, what] = p
            report(bench, f"{name}_{label}_{what}", y, p, customers, draws, judge=truth is not None)
            bench.figure(f"{name}_{label}_{what}_ece_before", calibration_error(y, before, np.ones(len(y))))
            for when, each in (("before", before), ("after", p)):
                if truth is not None:
                    bench.figure(f"{name}_{label}_{what}_ece_against_truth_{when}", calibration_error(truth[what], each, np.ones(len(y))))
    for what, y in labels.items():
        for metric, function in (("auc", auc), ("log_loss", log_loss)):
            difference = gain(function, y, said["deep", what], said["trees", what], customers, seed=seed, draws=draws)
            bench.figure(f"{name}_deep_minus_trees_{what}_{metric}", difference.value)
            bench.figure(f"{name}_deep_minus_trees_{what}_{metric}_interval", f"{difference.low:.4f}..{difference.high:.4f}")
            if metric == "log_loss":
                verdict(name, what, difference, int(y.sum()))
    return models


def verdict(name: str, what: str, difference: Any, found: int) -> None:
    """Say in words which is better in log loss."""
    if found < ENOUGH:
        said = f"{found} {what}s are too few to say which is better, whatever the interval"
    elif difference.high < 0:
        said = "the deep ranker beats LightGBM"
    elif difference.low > 0:
        said = "the deep ranker does not beat LightGBM; it is worse"
    else:
        said = "the deep ranker does not beat LightGBM; the interval holds zero"
    print(f"{name}, {what}: {said} (log loss {difference.value:+.5f}, {difference.low:+.5f}..{difference.high:+.5f})")


def report(bench: Harness, name: str, y: Any, p: Any, customers: Any, draws: int, *, judge: bool = False) -> None:
    """Every metric with its interval."""
    for metric, estimate in judged(y, p, customers, seed=bench.arguments.seed, draws=draws).items():
        target = ("<=", ECE) if judge and metric == "ece" else None
        bench.figure(f"{name}_{metric}", estimate.value, target=target)
        bench.figure(f"{name}_{metric}_interval", f"{estimate.low:.4f}..{estimate.high:.4f}")


def lists(bench: Harness, name: str, shop: Shown, end: int) -> None:
    """LambdaRank against the log-linear blend, on the lists of the last days; sources learn before the first list used."""
    first, cut = START + (8 if bench.quick else 15) * DAY, end - TEST_DAYS * DAY
    at = shop.table["at"].cast(pa.int64()).to_numpy()
    learned, test = shop.table.filter((at >= first) & (at < cut)), shop.table.filter(at >= cut)
    sources = {model.name: model.fit(shop.log, as_of=from_micros(first)) for model in (Popular(), Graph(), UserKnn())}
    with clock() as taken:
        model = LambdaRank(seed=bench.arguments.seed).fit(learned, shop.log, sources, as_of=from_micros(cut))
    bench.figure(f"{name}_lambdarank_fit_cpu_s", taken["cpu"])
    bench.figure(f"{name}_lambdarank_trees", model.used)
    train_rows, train_logs = _shares(learned, shop.log, sources)
    rows, shares = _shares(test, shop.log, sources)
    worth = _wanted(shop, at >= cut, bench.arguments.seed)
    ours = model.score(test, shop.log)
    blends = {
        "events": _tuned_on_events(shop.log.before(from_micros(first)), sources, bench.arguments.seed),
        "lists": _tuned_on_lists(train_rows, train_logs),
    }
    clicked = np.isin(rows.request, rows.request[worth > 0])
    single = {f"source_{source}": share for source, share in shares.items()}
    blended = {f"blend_{way}": _sum(shares, weights) for way, weights in blends.items()}
    for label, score in (single | blended | {"lambdarank": ours, "shown_order": -rows.position}).items():
        values = ndcg(np.asarray(score)[clicked], worth[clicked], rows.request[clicked])
        estimate = bootstrap.mean(values, name=label, seed=bench.arguments.seed)
        bench.figure(f"{name}_{label}_ndcg", estimate.value)
        bench.figure(f"{name}_{label}_ndcg_interval", f"{estimate.low:.4f}..{estimate.high:.4f}")
    for way, weights in blends.items():
        print(f"weights of the blend tuned on {way}: {weights}")
        estimate = compared(ours, _sum(shares, weights), worth, rows.request, seed=bench.arguments.seed)
        bench.figure(f"{name}_lambdarank_minus_blend_{way}_ndcg", estimate.value, target=(">=", 0.0))
        bench.figure(f"{name}_lambdarank_minus_blend_{way}_ndcg_interval", f"{estimate.low:.4f}..{estimate.high:.4f}")


def _wanted(shop: Shown, test: Any, seed: int) -> Any:
    """What each row would have become on the first place, drawn anew: 0, 1 (click), 2 (click and purchase). Clicks as they fell would
    praise whatever stood on top.
    """
    rng = np.random.default_rng(seed)
    click = rng.random(test.sum()) < _liking(shop, test)
    return click.astype(np.int64) + (click & (rng.random(test.sum()) < shop.buy[test]))


def _shares(table: pa.Table, log: Sequences, sources: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
    """Log of each item's score share within its list, by source: what a log-linear blend adds up."""
    shares = {}
    for name, source in sources.items():
        none = np.full(len(source.items), -1)
        known = Vocabulary(source.items, source.categories, none.astype(np.int32), none.astype(np.int8))
        rows = Rows.of(impressions(table), known.aligned(log), known)
        score = np.maximum(np.nan_to_num(pair_scores(rows, source), neginf=0.0), 0)
        total = np.bincount(np.unique(rows.request, return_inverse=True)[1], weights=score)
        share = score / np.maximum(total[np.unique(rows.request, return_inverse=True)[1]], 1e-30)
        shares[name] = np.log(share + 1 / len(source.items))
    return rows, shares


def _sum(shares: dict[str, Any], weights: dict[str, float]) -> Any:
    return sum((weights.get(name, 0.0) * share for name, share in shares.items()), 0.0)


def _tuned_on_events(log: Sequences, sources: dict[str, Any], seed: int) -> dict[str, float]:
    """As ``fallback`` does: on the last stretch of the log."""
    holdout = held_out(log, kinds(None), seed=seed)
    if holdout is None:
        return dict.fromkeys(sources, 1.0)
    end = from_micros(int(holdout.train.at.max()) + 1)
    scores = {name: type(source)().fit(holdout.train, as_of=end).score(holdout.histories) for name, source in sources.items()}
    known = np.logical_or.reduce([np.isfinite(score) for score in scores.values()])
    assert mixed({}, {}, known).shape == known.shape
    return tune({name: logs(score) for name, score in scores.items()}, known, holdout)


def _tuned_on_lists(rows: Rows, shares: dict[str, Any]) -> dict[str, float]:
    """Coordinate ascent on the NDCG of the shown lists themselves."""
    worth = (rows.click + rows.conversion).astype(np.int64)
    clicked = np.isin(rows.request, rows.request[worth > 0])
    some = {name: share[clicked] for name, share in shares.items()}
    worth, request = worth[clicked], rows.request[clicked]

    def reached(weights: dict[str, float]) -> float:
        return float(ndcg(_sum(some, weights), worth, request).mean())

    start = max(some, key=lambda name: reached({name: 1.0}))
    weights = {name: float(name == start) for name in some}
    for _ in range(2):
        for name in some:
            trials = [{**weights, name: step} for step in GRID]
            weights = max((trial for trial in trials if any(trial.values())), key=reached)
    return weights


def bids(bench: Harness, folder: Path) -> None:
    """Someone else's predicted click rates, before and after our calibration."""
    for path in sorted(folder.glob("*.validation.txt")):
        fields = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        kept = np.array([(float(row[0]), float(row[2])) for row in fields if len(row) == 3])
        y, p = kept.T
        early = np.arange(len(y)) < len(y) // 2
        repaired = chance(Calibration.fit(odds(p[early]), y[early])(odds(p[~early])))
        name, once = f"bids_{path.name.split('.')[0]}", np.ones((~early).sum())
        bench.figure(f"{name}_clicks", f"{int(y[early].sum())} and {int(y[~early].sum())} in {len(y)}")
        for label, said in (("before", p[~early]), ("after", repaired)):
            bench.figure(f"{name}_predicted_over_actual_{label}", over_actual(y[~early], said, once))
            bench.figure(f"{name}_ece_{label}", calibration_error(y[~early], said, once), target=("<=", ECE) if label == "after" else None)
            bench.figure(f"{name}_normalised_entropy_{label}", normalised_entropy(y[~early], said, once))


def bandit(bench: Harness, folder: Path) -> None:
    """Open Bandit: both logs, each learned on its first 70 % and judged on the rest."""
    for policy in ("random", "bts"):
        path = folder / policy / "men" / "men.csv"
        if not path.is_file():
            print(f"left out: {path} is not there")
            continue
        table = read_bandit(path)
        print(f"bandit_{policy}: real impressions; a customer is a combination of four hashed features")
        judge(bench, f"bandit_{policy}", table, share=0.3)


def read_bandit(path: Path) -> pa.Table:
    """Impressions of one file of the Open Bandit data set."""
    from pyarrow import csv

    rows = csv.read_csv(path)
    features = [pc.cast(rows[f"user_feature_{n}"], pa.string()) for n in range(4)]
    return pa.table(
        {
            "at": pc.cast(rows["timestamp"], pa.timestamp("us", tz="UTC")),
            "customer": pc.binary_join_element_wise(*features, "-"),
            "item": pc.cast(rows["item_id"], pa.string()),
            "position": rows["position"],
            "click": pc.cast(rows["click"], pa.int8()),
        }
    ).sort_by("at")


def given(bench: Harness, path: Path) -> None:
    """A file of impressions."""
    from pyarrow import csv, parquet

    table = parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    for name in ("at", "converted_at"):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, pc.cast(table[name], pa.timestamp("us", tz="UTC")))
    for name in ("customer", "item", "channel", "request"):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, pc.cast(table[name], pa.string()))
    judge(bench, path.stem, table.sort_by("at"), share=0.2)


def judge(bench: Harness, name: str, table: pa.Table, *, share: float) -> None:
    """Both models on a table of impressions whose last ``share`` of the time is the test."""
    at = table["at"].cast(pa.int64()).to_numpy()
    cut = int(at.min() + (1 - share) * (at.max() - at.min()))
    shown = table.filter(at >= cut)
    bench.figure(f"{name}_impressions_learned", int((at < cut).sum()))
    bench.figure(f"{name}_impressions_judged", shown.num_rows)
    bench.figure(f"{name}_clicks_learned", int(table["click"].to_numpy()[at < cut].sum()))
    bench.figure(f"{name}_clicks_judged", int(shown["click"].to_numpy().sum()))
    print(f"{name}: learned before {_day(from_micros(cut))}")
    found = compare(bench, name, table, events(table), cut, shown, None)
    for label, model in found.items():
        places = int(pc.max(shown["position"]).as_py())
        effect = model.position_effect(shown, events(table), min(places, 10))
        bench.figure(f"{name}_{label}_place_effect", " ".join(f"{value:.2f}" for value in effect))


def _day(at: datetime) -> str:
    return at.isoformat(timespec="minutes")


def events(table: pa.Table) -> Sequences:
    """Clicks as views and conversions as purchases, a moment after the impression."""
    clicked = table.filter(pc.equal(pc.cast(table["click"], pa.int8()), 1))
    clicked = clicked.filter(pc.is_valid(clicked["customer"]))
    parts = [(clicked, clicked["at"], "view")]
    if "conversion" in table.column_names:
        bought = clicked.filter(pc.fill_null(pc.equal(pc.cast(clicked["conversion"], pa.int8()), 1), False))
        when = bought["converted_at"] if "converted_at" in table.column_names else bought["at"]
        parts.append((bought, when, "purchase"))
    owners = [name for part, _, _ in parts for name in part["customer"].to_pylist()]
    return Sequences.from_arrays(
        owners,
        item=[name for part, _, _ in parts for name in part["item"].to_pylist()],
        at=np.concatenate([when.cast(pa.int64()).to_numpy() + 1 for _, when, _ in parts]),
        kind=[kind for part, _, kind in parts for _ in range(part.num_rows)],
        items=table["item"].unique().to_pylist(),
    )


if __name__ == "__main__":
    main()
