"""The shop's evidence beside the report of a plan: other policies, attribution, fairness, quality. ``shop.evidence`` opens it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tradewind.types import Report, utc

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home


class Evidence:
    """Four reports on what happened before a time: the end of the log, or of the plan's window, when left out."""

    def __init__(self, home: Home, *, now: Callable[[], datetime], replay: Callable[[str, Plan], Plan]) -> None:
        self._home, self._now, self._replay = home, now, replay

    def offpolicy(self, plan: Plan, *, against: Sequence[str] = (), as_of: datetime | str | None = None) -> Report:
        """What other ways of deciding, and the stored policies ``against``, would have earned on the plan's log (docs/offpolicy.md)."""
        from tradewind.measure.offpolicy import offpolicy

        versions = [against] if isinstance(against, str) else against
        others = {f"policy {version}": self._replay(version, plan) for version in versions}
        return offpolicy(self._home, plan, as_of=self._end(plan, as_of), against=others)

    def attribution(self, plan: Plan | None = None, *, as_of: datetime | str | None = None, lookback_days: float = 30) -> Report:
        """Who stood on the way to purchases; with a plan, what its holdout says was caused (docs/attribution.md)."""
        from tradewind.measure.attribution import attribution

        return attribution(self._home, plan, as_of=self._at(as_of), lookback_days=lookback_days)

    def fairness(self, plan: Plan, by: Sequence[str], *, as_of: datetime | str | None = None) -> Report:
        """Exposure, offer value and outcome of a plan by declared groups (docs/fairness.md)."""
        from tradewind.measure.fairness import fairness

        return fairness(self._home, plan, [by] if isinstance(by, str) else list(by), as_of=self._end(plan, as_of))

    def quality(self, *, as_of: datetime | str | None = None, days: int = 28) -> Report:
        """Quality of profiles, recommender and data; looks back ``days`` (docs/quality.md)."""
        from tradewind.measure.quality import quality

        return quality(self._home, as_of=self._at(as_of), days=days)

    def _at(self, as_of: datetime | str | None) -> datetime:
        from tradewind.measure.money import seen_until

        if as_of is not None:
            return utc(as_of, what="as_of")
        last = seen_until(self._home.tables)
        return self._now() if last is None else last + timedelta(microseconds=1)

    def _end(self, plan: Plan, as_of: datetime | str | None) -> datetime:
        if as_of is not None:
            return utc(as_of, what="as_of")
        return min(utc(plan.meta["as_of"]) + timedelta(days=float(plan.meta["window_days"])), self._now())
