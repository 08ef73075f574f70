"""The rules of hand-off that all workers of one shop share: they lie in the ledger, so that every worker obeys the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from sqlalchemy import select

from tradewind.engine.ledger import meta, upsert
from tradewind.errors import InputError, did_you_mean
from tradewind.params import Number, Rule, check

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SECOND = 1_000_000  # microseconds
_KEY = "deliver.rules"
_LIMITS: dict[str, Rule] = {
    "cap": Number(1, 10_000, whole=True),
    "cap_days": Number(1 / 24, 366),
    "attempts": Number(1, 100, whole=True),
    "backoff_seconds": Number(0, 86_400),
    "backoff_most_seconds": Number(0, 30 * 86_400),
    "lease_seconds": Number(0.05, 86_400),
    "batch": Number(1, 10_000, whole=True),
    "window": Number(1, 1_000, whole=True),
    "breaker": Number(1, 1_000_000, whole=True),
    "seed": Number(0, 2**63 - 1, whole=True),
}


@dataclass(frozen=True)
class Rules:
    """How messages of a shop are handed off.

    At most ``cap`` messages per customer and channel reach a provider within any ``cap_days``. A message is tried
    ``attempts`` times, ``backoff_seconds`` apart and doubling up to ``backoff_most_seconds``, less a jitter of up to half.
    ``window`` messages at once are marked as being handed to a provider without an idempotency key: after a kill, that
    many at most are unknown. ``breaker`` transient failures in a row end a channel's run.
    """

    cap: int = 4
    cap_days: float = 7.0
    attempts: int = 6
    backoff_seconds: float = 60.0
    backoff_most_seconds: float = 6 * 3600.0
    lease_seconds: float = 300.0
    batch: int = 200
    window: int = 1
    breaker: int = 20
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for a value that is not allowed."""
        check("Rules", asdict(self), _LIMITS)

    @property
    def cap_window(self) -> int:
        """Microseconds over which the cap counts."""
        return int(self.cap_days * 86_400 * SECOND)

    def wait(self, message_id: str, attempt: int) -> int:
        """Microseconds until the next try after the ``attempt``-th one (from 1) failed: the same for the same seed."""
        longest = min(self.backoff_seconds * 2.0 ** min(attempt - 1, 60), self.backoff_most_seconds)
        draw = hashlib.sha256(f"{self.seed}|{message_id}|{attempt}".encode()).digest()
        share = 0.5 + int.from_bytes(draw[:6], "big") / 2**49
        return int(longest * share * SECOND)


def load(home: Home) -> Rules:
    """The shop's rules; the defaults where none were saved."""
    with home.ledger.read() as conn:
        text = conn.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    if text is None:
        return Rules()
    values = json.loads(text)
    known = [item.name for item in fields(Rules)]
    for name in values:
        if name not in known:
            raise InputError(f'The rules of delivery have an unknown value "{name}".{did_you_mean(name, known)} Save them anew.')
    return Rules(**values)


def save(home: Home, rules: Rules) -> None:
    """Set the shop's rules for every worker that starts from now on; raises InputError for a value not allowed."""
    rules.check()
    with home.ledger.write() as conn:
        upsert(conn, meta, [{"key": _KEY, "value": json.dumps(asdict(rules), sort_keys=True)}], update=("value",))
