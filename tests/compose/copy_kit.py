"""A small world of words for the tests of learning: one role (and tone) whose effects are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from tradewind.compose.library import Library, read
from tradewind.compose.policy import CopyPolicy
from tradewind.compose.sent import Sent

START = datetime(2026, 3, 1, tzinfo=UTC)
TEXTS = {"a": "A look at {title}", "b": "Fancy {title}?", "c": "Our {title}", "d": "New: {title}"}


def library(extra: dict[str, str] | None = None) -> Library:
    """Four hooks (and more) that differ in their traits."""
    rows = [
        {"id": name, "role": "hook", "tone": "any", "channels": ["email"], "text": text} for name, text in (TEXTS | (extra or {})).items()
    ]
    return read({"locale": "en", "joiner": " ", "colon": ": ", "component": rows})


def sent(
    count: int,
    lift: dict[str, float],
    *,
    seed: int = 0,
    base: float = 0.2,
    policy: CopyPolicy | None = None,
    segments: tuple[str | None, ...] = ("new", "active"),
    own: dict[tuple[str, str], float] | None = None,
    customers: int = 500,
) -> list[Sent]:
    """Messages whose click rate is ``base`` plus the lift of the hook, for all and in a segment (``own``)."""
    rng, names, rows = np.random.default_rng(seed), tuple(sorted(lift)), []
    known = {segment: _shares(names, policy, segment) for segment in segments}
    for number in range(count):
        segment = segments[int(rng.integers(len(segments)))]
        share = known[segment]
        name = names[min(int((rng.random() > np.cumsum(list(share.values()))).sum()), len(names) - 1)]
        rate = base + lift[name] + (own or {}).get((segment or "", name), 0.0)
        at = START + timedelta(hours=2 * number)
        customer = f"c{rng.integers(customers)}"
        row = Sent(f"d{seed}-{number}", customer, at, "email", "en", segment, {"hook": share}, {"hook": name}, bool(rng.random() < rate))
        rows.append(row)
    return rows


def _shares(names: tuple[str, ...], policy: CopyPolicy | None, segment: str | None) -> dict[str, float]:
    if policy is None:
        return dict.fromkeys(names, 1 / len(names))
    return dict(zip(names, policy.chooser(segment=segment).chances("hook", names), strict=True))
