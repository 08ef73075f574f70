"""The orders and claims of a shop's past with their features, for backtests and for verdicts on one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import StateError
from tradewind.learn import _risk_log, risk_features
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SCORE = "risk_score"
FIELDS: Mapping[str, str] = {**risk_features.FIELDS, SCORE: "number"}  # what a rule may look at


@dataclass(frozen=True)
class History:
    """m orders and claims in order of time: ids, microseconds UTC, what was paid in minor units, features as of each."""

    ids: list[str]
    at: NDArray[np.int64]
    amount: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def part(self, keep: NDArray[np.bool_]) -> History:
        """The moments where ``keep``."""
        ids = [name for name, yes in zip(self.ids, keep.tolist(), strict=True) if yes]
        return History(ids, self.at[keep], self.amount[keep], {name: column[keep] for name, column in self.columns.items()})

    def row(self, number: int) -> dict[str, Any]:
        """The features of one moment; a number that is not known is None."""
        cells = {name: column[number] for name, column in self.columns.items()}
        told = {name: cell.item() if isinstance(cell, np.generic) else cell for name, cell in cells.items()}
        return {name: None if isinstance(cell, float) and np.isnan(cell) else cell for name, cell in told.items()}


def history(home: Home, *, until: datetime, days: float | None = None) -> History:
    """All orders and claims before ``until``, or those of the last ``days``; features come from the whole log before each."""
    moments = _risk_log.read(home.tables.to_arrow(home.tables.events(as_of=until)), home.tables.to_arrow(home.tables.get("customers")))
    asked = risk_features.asked(moments)
    ids = [name for name, yes in zip(moments.id, asked.tolist(), strict=True) if yes]
    found = History(ids, moments.at[asked], moments.amount[asked], risk_features.replay(moments))
    return found if days is None else found.part(found.at >= micros(until) - int(days * timedelta(days=1) / timedelta(microseconds=1)))


def scored(home: Home, found: History) -> History:
    """With the score of the active model; not known at moments that the model may have learned from.

    Raises
    ------
    StateError
        No model was learned.
    """
    from tradewind.learn.registry import active
    from tradewind.learn.risk import NAME, Risk

    try:
        version = active(home, NAME)
    except StateError as error:
        raise StateError(f"A rule looks at {SCORE}, but no risk was learned yet. Run: tradewind risk score --shop {home.root}") from error
    score = np.where(found.at >= micros(version.as_of), Risk.load(version.path).score(found.columns), np.nan)
    return replace(found, columns={**found.columns, SCORE: score})
