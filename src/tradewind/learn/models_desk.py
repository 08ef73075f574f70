"""The stored models of a shop: every version with its card, which one is in use, and going back to an earlier one. ``shop.models``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from tradewind.engine import audit
from tradewind.engine.ledger import models
from tradewind.errors import StateError, unknown
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

POLICY = "policy"  # versions of the whole policy, which are rolled back together: decide/versions.py
m = models.c


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a model; ``there``: its files are still on the disk."""

    name: str
    version: str
    as_of: datetime
    created_at: datetime
    active: bool
    card: Mapping[str, Any]
    there: bool


class Models:
    """The models of one shop."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self._home, self._now = home, now

    def all(self, name: str | None = None) -> list[Stored]:
        """Every version, by name, the one made last first. Raises NotFound for a name that nothing was learned under."""
        with self._home.ledger.read() as conn:
            rows = conn.execute(select(models).where(m.name != POLICY).order_by(m.name, m.created_at.desc(), m.version)).all()
        known = list(dict.fromkeys(row.name for row in rows))
        if name is not None and name not in known:
            raise unknown("model", name, known)
        return [
            Stored(
                row.name, row.version, from_micros(row.as_of), from_micros(row.created_at), bool(row.active), json.loads(row.card),
                (self._home.root / row.path).is_dir(),
            )
            for row in rows
            if name in (None, row.name)
        ]  # fmt: skip

    def activate(self, name: str, version: str, *, by: str) -> Stored:
        """Make a stored version the one in use; ``by`` is the actor of the audit log, such as ``person:ann``.

        Raises
        ------
        NotFound, StateError
            There is no such version, or its files are gone.
        """
        known = {one.version: one for one in self.all(name)}
        if version not in known:
            raise unknown("version", version, known)
        if not known[version].there:
            raise StateError(f'The files of version {version} of "{name}" are gone. Restore them from a backup, or learn anew.')
        before = next((one.version for one in known.values() if one.active), None)
        with self._home.ledger.write() as conn:
            conn.execute(update(models).where(m.name == name).values(active=False))
            conn.execute(update(models).where(m.name == name, m.version == version).values(active=True))
            audit.note(conn, by, "model.activate", f"model:{name}", {"version": version, "before": before}, at=self._now())
        return next(one for one in self.all(name) if one.version == version)
