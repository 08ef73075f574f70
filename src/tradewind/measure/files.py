"""Experiments in a file of any shop: CSV or Parquet, read by the table engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tradewind.errors import InputError
from tradewind.measure.experiment import analyse
from tradewind.measure.experiment_report import power_report, report
from tradewind.measure.report import Told
from tradewind.measure.rows import fits
from tradewind.measure.tally import Expr, Run, tally
from tradewind.measure.trial import Trial
from tradewind.params import Number, check
from tradewind.stats.means import adjusted
from tradewind.stats.moments import pooled
from tradewind.stats.power import Design


@dataclass(frozen=True)
class Source:
    """A table and what runs its expressions."""

    table: Expr
    run: Run
    name: str
    at: datetime  # when the file was written last: the same file gives the same report

    def experiment(self, trial: Trial) -> Told:
        """Compare the arms; see :func:`tradewind.measure.experiment.analyse`."""
        return report(analyse(self.table, self.run, trial), at=self.at, title=f"Experiment in {self.name}")

    def power(self, trial: Trial, *, holdout: float = 0.5, effect: float | None = None) -> Told:
        """What an experiment with as many units as the table has could show, from the spread of its metrics.

        ``effect``: also how many units that share of a metric's mean would need. ``holdout``: share of units in the control.
        """
        import ibis

        check("power", {"holdout": holdout}, {"holdout": Number(0.001, 0.999)})
        fits(self.table, trial)
        if trial.propensity:
            raise InputError("power: leave --propensity out: a plan for a bandit's arms is not computed.")
        metrics = [metric for metric in trial.metrics if metric.share is None]
        if not metrics:
            raise InputError("power: name a mean or a ratio; the power of a quantile is not computed.")
        pairs = [(a, b) for metric in metrics for a in trial.needed(metric) for b in trial.needed(metric)]
        found = tally(self.table.mutate(tw_all=ibis.literal("all")), self.run, arm="tw_all", pairs=pairs)
        rows = []
        for metric in metrics:
            whole = pooled(found.moments("all", trial.needed(metric), found.strata))
            mean, sd, left = adjusted(whole, trial.form(metric))
            if sd == 0:
                raise InputError(f"power: {metric.name} is the same in every unit, so nothing can be planned on it.")
            for always in (False, True):
                design = Design(sd, holdout, 1 - left, trial.level, always_valid=always)
                least = design.smallest_effect(whole.n)
                row: dict[str, object] = {
                    "metric": metric.name,
                    "read": "always valid" if always else "once",
                    "mean": mean,
                    "standard deviation": sd,
                    "taken out": f"{1 - left:.1%}",
                    "smallest effect": least,
                    "in percent": f"{100 * least / abs(mean):.2f} %" if mean else "-",
                }
                if effect is not None:
                    row[f"units for {100 * effect:g} %"] = design.units_needed(effect * abs(mean)) if mean else "-"
                rows.append(row)
        return power_report(trial, rows, units=found.count("all"), at=self.at)


@contextmanager
def on_file(path: Path) -> Iterator[Source]:
    """Open a CSV or Parquet file; raises InputError when it cannot be read."""
    import duckdb
    import ibis

    if not path.is_file():
        raise InputError(f'There is no file "{path}". Give a CSV or Parquet file with one row per unit.')
    con = ibis.duckdb.connect()
    try:
        parquet = path.suffix.lower() in (".parquet", ".pq")
        table = con.read_parquet(str(path)) if parquet else con.read_csv(str(path), sample_size=-1)
        yield Source(table, con.to_pyarrow, path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except duckdb.Error as error:
        raise InputError(f'Cannot read "{path}" as {"Parquet" if parquet else "CSV"}: {str(error).splitlines()[0]}') from error
    finally:
        con.disconnect()
