"""Experiments of a shop: who is in which arm, what a plan could show before it starts, what lasts after its window."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from tradewind.decide.holdout import BUCKETS, bucket
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError
from tradewind.measure import money
from tradewind.measure.experiment_report import power_report
from tradewind.measure.report import Told
from tradewind.measure.trial import Metric, Trial
from tradewind.params import Number, check
from tradewind.stats.power import Design
from tradewind.types import Report, utc

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan

NAME = 48  # letters of an experiment's name: the ledger's key is 64 long


class Experiments:
    """The door ``shop.experiments``."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self._home, self._now = home, now

    def arms(self, name: str, units: Iterable[str], shares: Mapping[str, float]) -> dict[str, str]:
        """The arm of each unit (customer, household) in the experiment, or campaign, ``name``; the same for ever.

        A hash of the shop's salt, the name and the unit decides, so anybody can recompute it, and two experiments are independent. The
        shares are recorded when the name is first used and can never be changed, because that would move units between arms.

        Raises
        ------
        InputError, StateError
            Fewer than two arms with a share, a name that is too long; or the name was used with other shares.
        """
        if not name or len(name) > NAME:
            raise InputError(f"experiment: a name has 1 to {NAME} letters; got {name!r:.80}.")
        if sum(share > 0 for share in shares.values()) < 2:
            raise InputError(f"experiment {name}: give at least two arms a share above 0, for example control=0.5, new=0.5.")
        for arm, share in shares.items():
            check(f"experiment {name}", {f"share of {arm}": share}, {f"share of {arm}": Number(0, 1e9)})
        self._record(name, shares)
        ordered = sorted(shares)
        edges = np.cumsum([shares[arm] for arm in ordered]) / sum(shares.values()) * BUCKETS
        salt = f"{self._home.settings.salt}/experiment/{name}"
        return {unit: ordered[int(np.searchsorted(edges, bucket(unit, salt=salt), side="right"))] for unit in units}

    def all(self) -> dict[str, dict[str, float]]:
        """Every experiment that was begun, by name, with the shares of its arms."""
        key, value = books.meta.c.key, books.meta.c.value
        with self._home.ledger.read() as connection:
            rows = connection.execute(select(key, value).where(key.startswith("experiment:")).order_by(key)).all()
        return {str(name).partition(":")[2]: json.loads(text) for name, text in rows}

    def _record(self, name: str, shares: Mapping[str, float]) -> None:
        key, text = f"experiment:{name}", json.dumps(dict(sorted(shares.items())))
        with self._home.ledger.write() as connection:
            books.insert_new(connection, books.meta, [{"key": key, "value": text}])
            found = connection.execute(select(books.meta.c.value).where(books.meta.c.key == key)).scalar_one()
        if found != text:
            raise StateError(f'Experiment "{name}" runs with {found}; other shares would move units between arms. Choose another name.')

    def file(self, path: str | Path, trial: Trial) -> Told:
        """Compare the arms of a CSV or Parquet file (docs/reading_experiments.md)."""
        from tradewind.measure.files import on_file

        with on_file(Path(path)) as source:
            return source.experiment(trial)

    def power(self, *, window_days: float = 14, holdout: float = 0.1, acted: float = 1.0, as_of: datetime | str | None = None) -> Told:
        """What a plan could show, read off the shop's own last window: smallest effect on margin per customer, and on conversion.

        ``acted``: share of the customers on whom the plan will act; those whom it leaves alone tell nothing.

        Raises
        ------
        StateError
            The log holds no two such windows.
        """
        check(
            "power",
            {"holdout": holdout, "acted": acted, "window_days": window_days},
            {"holdout": Number(0.001, 0.999), "acted": Number(0.001, 1), "window_days": Number(1, 366)},
        )
        home = self._home
        end = utc(as_of) if as_of is not None else money.seen_until(home.tables)
        if end is None or home.settings.currency is None:
            raise StateError(f"The shop has no events yet. Run: tradewind collect FILES --shop {home.root}")
        span = timedelta(days=window_days)
        customers = _customers(home)
        columns = []
        for start in (end - span, end - 2 * span):
            table = money.customer_money(
                home.tables, start=start, end=start + span, currency=home.settings.currency, margin=home.settings.margin
            )
            earned = dict(zip(table["customer"].to_pylist(), table["margin"].to_pylist(), strict=True))
            columns.append(np.array([earned.get(name, 0.0) for name in customers]))
        now, before = columns
        if len(customers) < 10 or now.std() == 0:
            raise StateError("The last window holds too little to plan on. Collect more, or give an earlier as_of.")
        explained = float(np.corrcoef(now, before)[0, 1] ** 2) if before.std() > 0 else 0.0
        units = max(4, round(len(customers) * acted))
        rows: list[dict[str, object]] = []
        for name, values, left in (("margin per customer", now, explained), ("share who buy", (now != 0).astype(float), 0.0)):
            for always in (False, True):
                least = Design(float(values.std(ddof=1)), holdout, left, always_valid=always).smallest_effect(units)
                money_like = name.startswith("margin")
                rows.append(
                    {
                        "metric": name,
                        "read": "always valid" if always else "once",
                        "now": f"{values.mean() / 100:,.2f}" if money_like else f"{values.mean():.2%}",
                        "smallest effect": f"{least / 100:,.2f}" if money_like else f"{least:.2%}",
                        "taken out by history": f"{left:.1%}",
                    }
                )
        report = power_report(Trial("", "", (Metric("margin"),)), rows, units=units, at=end)
        return replace(report, simulated=home.settings.simulated)

    def longer(self, plan: Plan, *, days: float, as_of: datetime | str | None = None) -> Report:
        """Measure a plan in its window and for ``days`` days after it: what lasted, and what was only pulled forward."""
        from tradewind.measure.measure import measure

        end = utc(plan.meta["as_of"]) + timedelta(days=float(plan.meta["window_days"]) + days)
        return measure(self._home, plan, as_of=min(end, self._now() if as_of is None else utc(as_of)), longer=days)

    def foreseen(self, plan: Plan, *, days: float = 180, as_of: datetime | str | None = None) -> Report:
        """Measure a plan, and foresee by the surrogate index what it brings in the ``days`` days after its window.

        It rests on an assumption that the report states; :meth:`longer` measures where the time has passed.
        """
        from tradewind.measure.measure import measure
        from tradewind.measure.profit import sample
        from tradewind.measure.surrogate import foreseen_section

        at = self._now() if as_of is None else utc(as_of)
        section = foreseen_section(self._home, sample(self._home, plan, as_of=at), days, currency=str(plan.meta["currency"]))
        return measure(self._home, plan, as_of=at, more=[section])


def _customers(home: Home) -> list[str]:
    events = home.tables.events()
    known = events.filter(events.customer.notnull()).select("customer").distinct()
    return sorted(home.tables.to_arrow(known)["customer"].to_pylist())
