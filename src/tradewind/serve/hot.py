"""The parts of a service that every visit of a shop's site needs, made once: events in, recommendations and decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.decide.live import Decision
from tradewind.serve.decisions import keep
from tradewind.serve.engines import Engines
from tradewind.serve.group import Group
from tradewind.serve.ingest import Intake
from tradewind.serve.metrics import Meter
from tradewind.serve.payloads import Payloads
from tradewind.serve.recent import Recent
from tradewind.serve.state import Serving
from tradewind.serve.upkeep import Upkeep

WAITING = 1_000  # decisions that may wait for a commit
AT_ONCE = 32  # decisions of one transaction


class Hot:
    """``intake`` of events, ``recent`` ones, ``engines`` that answer, ``keeper`` of decisions, and ``upkeep`` beside them."""

    def __init__(self, held: Serving) -> None:
        home, now = held.shop.home, held.shop.now
        self.meter: Meter = meter(held)
        self.recent = Recent()
        self.intake = Intake(home, self.recent, now=now)
        self.payloads = Payloads(home, self.intake, now=now)
        self.engines = Engines(home, self.recent, now=now)

        def kept(drawn: Sequence[Decision]) -> Sequence[dict[str, Any] | Exception]:
            return keep(home, drawn, now=now())

        self.keeper: Group[Decision, dict[str, Any]] = Group("decisions", kept, most=WAITING, at_once=AT_ONCE)
        self.upkeep = Upkeep(home, self.engines, now=now, failed=self.meter.failed)

    def close(self) -> None:
        """Store what waits and stop."""
        self.payloads.close()
        self.intake.close()
        self.keeper.close()
        self.upkeep.close()
        self.engines.close()


def hot(held: Serving) -> Hot:
    """The parts of a service; made when they are first asked for."""
    found: Hot | None = held.parts.get("hot")
    if found is None:
        found = held.parts["hot"] = Hot(held)
    return found


def meter(held: Serving) -> Meter:
    """The counters of a service."""
    found: Meter | None = held.parts.get("meter")
    if found is None:
        found = held.parts["meter"] = Meter()
    return found
