"""What the customer vector tells about the next weeks: purchase, churn, next purchase and best hour, out of time.

Online Retail, all kinds "purchase". The Transformer learns up to 84 days before the end, the heads from the two horizons after
that, and the last 28 days are the test: nothing was learned from them. Beside the heads: the same heads without the vector
(counts, times and hours alone), and recency by itself. "seen" is the wrong way to do it: a model that has learned from the days
that its heads learn from.

    python bench/heads.py [--quick] [--path FILE] [--size tiny]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from datetime import timedelta
from pathlib import Path

import numpy as np
from _harness import ROOT, Harness, clock
from numpy.typing import NDArray
from recommend import read_retail
from sklearn.metrics import log_loss, roc_auc_score

from tradewind.learn.heads import Heads, Outlook
from tradewind.learn.sequences import Sequences
from tradewind.learn.transformer import Transformer
from tradewind.types import from_micros, micros

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data")) / "online_retail"
HORIZON = 28


class Nothing:
    """Stands where a model would: its vectors say nothing."""

    @staticmethod
    def customer_vectors(histories: Sequences) -> NDArray[np.float32]:
        return np.zeros((len(histories), 1), np.float32)


def main() -> None:
    bench = Harness("heads", __doc__, extra={"--size": {"default": "tiny", "help": "of the Transformer"}})
    path = bench.arguments.path or next(iter(sorted(DATA.glob("*.parquet"))), DATA)
    if not path.is_file():
        print(f"left out: {path} is not there; set TRADEWIND_DATA or give --path")
        bench.finish()
        return
    log = read_retail(path)
    if bench.quick:
        log = log.rows(np.arange(600))
    end = from_micros(int(log.at.max()) + 1)
    horizon = timedelta(days=HORIZON)
    now, learned = end - horizon, end - 3 * horizon
    settings = {"size": bench.arguments.size, "epochs": 2 if bench.quick else None}
    with clock() as taken:
        model = Transformer(**settings).fit(log.before(learned), as_of=learned)
    bench.figure("transformer_cpu_s", taken["cpu"])
    seen = Transformer(**settings).fit(log.before(now), as_of=now)
    before, after = log.split(now)
    rows = np.flatnonzero(before.lengths > 0)
    histories, after = before.rows(rows), after.rows(rows)
    bought = after.lengths > 0
    bench.figure("customers", len(rows))
    bench.figure("bought_share", float(bought.mean()))
    found: dict[str, Outlook] = {}
    for name, by in (("vector", model), ("no_vector", Nothing()), ("seen", seen)):
        with clock() as taken:
            heads = Heads(horizon_days=HORIZON).fit(by, log, as_of=now)  # type: ignore[arg-type]
        bench.figure(f"{name}_heads_cpu_s", taken["cpu"])
        found[name] = heads.predict(by, histories, as_of=now)  # type: ignore[arg-type]
    last = np.array([int(histories.at[end - 1]) for end in histories.offsets[1:]])
    recency = -(micros(now) - last).astype(float)
    tell(bench, "recency_purchase", bought, recency)
    for name, outlook in found.items():
        tell(bench, f"{name}_purchase", bought, outlook.purchase)
        bench.figure(f"{name}_purchase_log_loss", float(log_loss(bought, outlook.purchase)))
        bench.figure(f"{name}_purchase_expected_over_actual", float(outlook.purchase.mean() / bought.mean()))
        first = np.where(bought, after.at[np.where(bought, after.offsets[:-1], 0)], 0)
        hour = first[bought] // 3_600_000_000 % 24
        bench.figure(f"{name}_hour_hit", float((outlook.best_hour[bought] == hour).mean()))
        told = bought & np.isfinite(outlook.days)
        days = (first - micros(now)) / 86_400e6
        bench.figure(f"{name}_days_median_error", float(np.median(np.abs(outlook.days[told] - days[told]))) if told.any() else float("nan"))
        bench.figure(f"{name}_days_told_share", float(told.sum() / bought.sum()))
    common = np.bincount(before.at // 3_600_000_000 % 24, minlength=24).argmax()
    bench.figure("commonest_hour_hit", float((hour == common).mean()))
    gain = bootstrap_auc(bought, found["vector"].purchase, found["no_vector"].purchase, seed=bench.arguments.seed)
    bench.figure("vector_minus_no_vector_auc", f"{gain[0]:.4f} [{gain[1]:.4f} {gain[2]:.4f}]")
    bench.finish()


def tell(bench: Harness, name: str, label: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
    """AUC with its interval."""
    value, low, high = bootstrap_auc(label, score, None, seed=bench.arguments.seed)
    bench.figure(f"{name}_auc", value)
    bench.figure(f"{name}_auc_interval", f"{low:.4f}..{high:.4f}")


def bootstrap_auc(
    label: NDArray[np.bool_], score: NDArray[np.float64], base: NDArray[np.float64] | None, *, seed: int
) -> tuple[float, float, float]:
    """AUC, or its difference to that of ``base``, with a 95 % bootstrap interval over customers."""
    rng = np.random.default_rng(seed)

    def measure(rows: NDArray[np.int64]) -> float:
        own = roc_auc_score(label[rows], score[rows])
        return float(own - (roc_auc_score(label[rows], base[rows]) if base is not None else 0.0))

    everyone = np.arange(len(label))
    drawn = [measure(rng.integers(len(label), size=len(label))) for _ in range(200)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return measure(everyone), float(low), float(high)


if __name__ == "__main__":
    main()
