"""Rows whose numbers are unusual together: an isolation forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tradewind.collect.rules.base import CHOICES, Flaw, QualityRule, View
from tradewind.collect.sources.base import quoted
from tradewind.params import Number, Rule

COLUMNS = {"events": ("quantity", "value", "discount"), "items": ("price", "cost", "stock")}
SAMPLE, BATCH = 50_000, 50_000


class OutliersForest(QualityRule):
    """Anomaly score above ``score`` (Liu, Ting and Zhou 2008: near 1 is an anomaly, below 0.5 is normal).

    Fitted on an even sample, then every different combination of numbers is scored. Off unless the mapping names it.
    When not to use: tens of millions of rows with ever different amounts; scoring is then the slowest step of the load.
    """

    name: ClassVar[str] = "outliers_forest"
    tables: ClassVar[tuple[str, ...]] = tuple(COLUMNS)
    default_on: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {"action": "flag", "score": 0.75, "trees": 100, "seed": 0}
    options: ClassVar[Mapping[str, Rule]] = {
        "action": CHOICES,
        "score": Number(0.5, 1),
        "trees": Number(10, 1000, whole=True),
        "seed": Number(0, 2**32 - 1, whole=True),
    }

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition: the combination of numbers was scored as an anomaly."""
        columns = [name for name in COLUMNS[view.table] if view.has(name)]
        if len(columns) < 2:
            return ()
        options = self.set
        name = f"forest_{view.table}"
        anomalies = _anomalies(view, columns, score=options["score"], trees=options["trees"], seed=options["seed"])
        view.con.register("forest_found", anomalies)
        view.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM forest_found")
        view.con.unregister("forest_found")
        where = f"{_only(view)} AND ({_combination(columns)}) IN (SELECT {_combination(columns)} FROM {name})"
        return [Flaw("outliers_forest", where, options["action"], f"{' and '.join(columns)} are unusual together", columns[0])]


def _only(view: View) -> str:
    return "kind IN ('purchase', 'refund')" if view.table == "events" else "true"


def _combination(columns: Sequence[str]) -> str:
    return "hash(" + ", ".join(f"CAST({quoted(name)} AS DOUBLE)" for name in columns) + ")"


def _anomalies(view: View, columns: Sequence[str], *, score: float, trees: int, seed: int) -> pa.Table:
    """The combinations of numbers, as DOUBLE columns, that score above ``score``."""
    import numpy as np
    from sklearn.ensemble import IsolationForest

    values = ", ".join(f"CAST({quoted(name)} AS DOUBLE) AS {quoted(name)}" for name in columns)
    schema = pa.schema([(name, pa.float64()) for name in columns])

    def numbers(table: pa.Table) -> Any:
        arrays = [np.nan_to_num(table[name].to_numpy(zero_copy_only=False), nan=-1.0) for name in columns]
        return np.sign(arrays).T * np.log1p(np.abs(arrays)).T

    sample = view.con.sql(view.sample(f"_pos, {values}", where=_only(view), most=SAMPLE) + " ORDER BY _pos").to_arrow_table()
    if sample.num_rows < 20:
        return schema.empty_table()
    forest = IsolationForest(n_estimators=trees, random_state=seed, n_jobs=1).fit(numbers(sample))
    found = []
    every = view.con.sql(f"SELECT DISTINCT {values} FROM ({view.relation.sql}) WHERE {_only(view)}").to_arrow_table()
    for start in range(0, every.num_rows, BATCH):
        part = every.slice(start, BATCH)
        found.append(part.filter(pa.array(-forest.score_samples(numbers(part)) > score)))
    return pa.concat_tables([table.cast(schema) for table in found]) if found else schema.empty_table()


PLUGIN = OutliersForest
