"""What learning did, as sections of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from tradewind.learn.base import Recommender
from tradewind.learn.evaluate import AT_K, COLD, Evaluation, evaluate
from tradewind.learn.registry import Version
from tradewind.learn.sequences import Sequences
from tradewind.types import Estimate, Report, Section

COLUMNS = ("ndcg", "recall", "mrr", "coverage", "diversity", "novelty", "miscalibration", "ms_per_customer", *COLD)


def learned(
    log: Sequences,
    version: Version,
    *,
    value_rows: int,
    contacted: int,
    as_of: datetime,
    more: Sequence[Section] = (),
    simulated: bool = False,
) -> Report:
    """Report on a fit: what was read, what is active now."""
    text = (
        (
            f'Active recommender: "{version.card["recommend"]}", version {version.version}, '
            f"from {len(log.at):,} events of {len(log):,} customers over {version.card['items']:,} items before {as_of:%Y-%m-%d %H:%M} UTC."
        ),
        f"Value of offers: learned from {value_rows:,} logged decisions with outcomes."
        if value_rows
        else "Value of offers: the prior. No outcomes of decisions were collected yet, so the first plan explores.",
        f"Who answers messages: learned from {contacted:,} customers who were sent one."
        if contacted
        else "Who answers messages: not learned, because too few were sent one or clicked. The prior goes by who buys.",
    )
    meta: dict[str, Any] = {
        "version": version.version,
        "recommend": version.card["recommend"],
        "value_rows": value_rows,
        "contacted": contacted,
    }
    return Report("What was learned", as_of, [Section("Models", text), *more], simulated=simulated, meta=meta)


def comparison(
    log: Sequences, cut: datetime, *, size: str | None, epochs: int | None, seed: int, progress: Callable[[float, str], None]
) -> Evaluation:
    """Measure every recommender of the shelf on a global time split at ``cut``."""
    from tradewind.learn.category import Category
    from tradewind.learn.fallback import Fallback
    from tradewind.learn.repeat import Repeat
    from tradewind.learn.transformer import Transformer

    progress(0.0, "comparing recommenders")
    models: list[Recommender | str] = [Fallback(size=size, epochs=epochs, seed=seed), Category(), Repeat()]
    if size is not None:
        models.append(Transformer(size=size, epochs=epochs, seed=seed))
    return evaluate(models, log, cut, seed=seed)


def compared(
    log: Sequences, cut: datetime, *, size: str | None, epochs: int | None, seed: int, progress: Callable[[float, str], None]
) -> Section:
    """The comparison as a section; see :func:`comparison`."""
    return section(comparison(log, cut, size=size, epochs=epochs, seed=seed, progress=progress))


def section(found: Evaluation) -> Section:
    """An evaluation as a section of a report: one row per model, "all" and "new" apart, best first."""
    split = found.split
    text = (
        (
            f"Full ranking of the whole catalogue for {split['users']:,} customers who bought in the {split['horizon_days']:g} days "
            f"from {split['cut'][:10]}; models saw only what came before. Split {split['hash'][:12]}. "
            f"{split['cold_customers']:.1%} of them had no history; {split['cold_items']:.1%} of what they bought had never been seen."
        ),
        (
            "ndcg, recall and mrr say how high the items that were bought stand among the first places (1 is perfect, 0 is none); coverage "
            "is the share of the catalogue that anybody is shown, diversity how unlike the shown items are, novelty how little known, "
            "miscalibration how far the list is from the customer's own mix of categories (0 is not at all), ms_per_customer the time."
        ),
        *(f"{name}: ndcg of {what} alone." for name, what in COLD.items()),
        *found.warnings(),
        '"all" counts repeat purchases, "new" only items that the customer had never bought. Intervals are 95 % bootstraps over customers.',
    )
    rows = []
    for row in sorted(found.rows, key=lambda r: (r.view, -r.estimates["ndcg"].value)):
        shown: dict[str, Any] = {"view": row.view, "model": row.model}
        for name in COLUMNS:
            e = row.estimates[name]
            label = f"{name}@{row.k}" if name in AT_K else name
            shown[label] = _cell(e)
        rows.append(shown)
    return Section("How well the recommenders rank", text, (), tuple(rows))


def _cell(estimate: Estimate) -> str:
    """An estimate with its interval, "-" where nothing could be measured."""
    if np.isnan(estimate.value):
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
