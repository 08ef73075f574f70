"""Between the shop and its copy policy: learn it from the log, and choose the words of one run of ``compose`` by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tradewind.collect.consent_acts import impersonal
from tradewind.compose.approval import libraries
from tradewind.compose.base import Chooser
from tradewind.compose.copy_report import report
from tradewind.compose.library import Library
from tradewind.compose.policy import FEWEST, CopyPolicy, usable
from tradewind.compose.sent import faded, histories, read, segments
from tradewind.learn.registry import active, learned, publish, retire
from tradewind.types import Report, Section

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.engine.home import Home

MODEL = "copy"  # its name in the registry


def learn(home: Home, *, as_of: datetime, now: datetime, seed: int = 0) -> Section:
    """Learn the policy from all messages sent before ``as_of`` and make it active; return what a report says of it.

    With fewer than ``FEWEST`` messages that had a choice of words nothing is learned, and an older policy is retired: it may know what
    comes after the cut.
    """
    rows, silent = read(home, as_of=as_of)
    kept = usable(rows)
    left = f" {silent:,} messages have no logged probabilities and were left out." if silent else ""
    if len(kept) < FEWEST:
        retire(home, MODEL)
        told = f"Words: not learned. {len(kept):,} messages with a choice of words were sent; {FEWEST:,} are needed.{left}"
        return Section("Words", (f"{told} Until then all that fits is equally likely.",))
    if not any(row.clicked for row in kept):
        retire(home, MODEL)
        return Section("Words", (f"Words: not learned. Of {len(kept):,} messages none was clicked.{left}",))
    every = [component for library in libraries(home).values() for component in library.components]
    policy = CopyPolicy.learn(rows, every, seed=seed)
    card = {"messages": len(kept), "clicks": sum(row.clicked for row in kept), "control": policy.control, "floor": policy.floor}
    version = publish(home, MODEL, policy.save, as_of=as_of, card=card, now=now)
    share = f"{policy.control:.0%} of the customers get the fixed template, to measure against."
    return Section("Words", (f"Words: learned from {len(kept):,} messages, version {version.version}. {share}{left}",))


def report_of(home: Home, *, as_of: datetime) -> Report:
    """Winners and losers among words, from all messages sent before ``as_of``."""
    rows, silent = read(home, as_of=as_of)
    policy = CopyPolicy.load(active(home, MODEL).path) if learned(home, MODEL) else None
    return report(rows, libraries(home), policy=policy, silent=silent, at=as_of, simulated=home.settings.simulated)


@dataclass
class Choosing:
    """How one run chooses words: ``policy`` None means that all that fits is alike."""

    home: Home
    policy: CopyPolicy | None
    version: str
    segment: Mapping[str, str]  # of a decision
    told: dict[str, list[tuple[datetime, tuple[str, ...]]]] = field(default_factory=dict)  # what each customer of the chunk was told
    unread: frozenset[str] = frozenset()  # customers of the chunk who switched personalisation off: all that fits is alike to them

    @classmethod
    def open(cls, home: Home, features: pa.Table | None, *, known: Mapping[str, Library], now: datetime) -> Choosing:
        """The active policy, which knows nothing after ``now``; ``known``: the libraries that will be written from."""
        found = active(home, MODEL, before=now) if learned(home, MODEL) else None
        if found is None:
            return cls(home, None, "", segments(features))
        components = [component for library in known.values() for component in library.components]
        return cls(home, CopyPolicy.load(found.path).with_library(components), found.version, segments(features))

    def look(self, customers: Sequence[str], *, at: datetime) -> None:
        """Read what the customers of a chunk were told before."""
        self.told = histories(self.home, customers, at=at) if self.policy is not None else {}
        with self.home.ledger.read() as conn:
            self.unread = impersonal(conn, among=customers)

    def kind(self, customer: str, decision: str) -> str | None:
        """The segment that a message is written for."""
        return None if customer in self.unread else self.segment.get(decision)

    def controlled(self, customer: str) -> bool:
        """Whether a customer gets the fixed template."""
        return self.policy is not None and customer not in self.unread and self.policy.controls(customer, salt=self.home.settings.salt)

    def chooser(self, customer: str, decision: str, *, at: datetime) -> Chooser | None:
        """The chooser of one message."""
        if self.policy is None or customer in self.unread:
            return None
        seen = faded(self.told.get(customer, ()), at)
        return self.policy.chooser(segment=self.kind(customer, decision), seen=seen, controlled=self.controlled(customer))

    def headers(self, customer: str, decision: str) -> dict[str, str]:
        """What the log of a message says of how its words were chosen."""
        found: dict[str, Any] = {"segment": self.kind(customer, decision), "policy": self.version or None}
        if customer in self.unread:
            found["policy"] = None
        found["control"] = "1" if self.controlled(customer) else None
        return {name: value for name, value in found.items() if value is not None}

    def way(self, customer: str) -> str:
        """How the words of a customer are chosen, for people."""
        if customer in self.unread:
            return "uniform (personalisation is off)"
        if self.policy is None:
            return "uniform (nothing learned yet)"
        return "fixed template (control)" if self.controlled(customer) else f"policy {self.version}"
