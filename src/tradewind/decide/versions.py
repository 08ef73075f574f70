"""Versions of the policy: which models, settings and code made a plan; replayed, listed, rolled back.

A version is the hash of the versions of the models, what was asked (offers, channels, budget, limits, ...) and the source of
this room. It is stored like a model (``learn/registry.py``). A plan names its version; with the shop's data as they were, the same version
decides the same plan again, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from tradewind.decide.hashing import canonical
from tradewind.engine import audit
from tradewind.engine.ledger import models as books
from tradewind.errors import NotFound, StateError, unknown
from tradewind.learn import registry
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NAME = "policy"
MODELS = ("recommend", "answers", "value")
FILE = "policy.json"


@dataclass(frozen=True)
class Policy:
    """One version: the models by name (None: there was none), what was asked, and the fingerprint of the code."""

    version: str
    models: Mapping[str, str | None]
    settings: Mapping[str, Any]
    code: str
    created_at: datetime
    active: bool


@cache
def code() -> str:
    """Fingerprint of the source that decides: this room and the solvers that it calls."""
    room = Path(__file__).parent
    files = [*room.rglob("*.py"), *(room.parent / "stats").glob("*.py")]
    state = hashlib.sha256()
    for path in sorted(files):
        state.update(path.relative_to(room.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return state.hexdigest()[:24]


def current(home: Home) -> dict[str, str | None]:
    """The active version of each model; None where none was learned."""
    with home.ledger.read() as conn:
        rows = conn.execute(select(books.c.name, books.c.version).where(books.c.active, books.c.name.in_(MODELS))).all()
    return dict.fromkeys(MODELS) | {row.name: row.version for row in rows}


def publish(home: Home, settings: Mapping[str, Any], *, models: Mapping[str, str | None], as_of: datetime, now: datetime) -> str:
    """Store the version that these settings, models and this code are, make it the active one, and return its name."""
    text = canonical({"models": dict(models), "settings": dict(settings), "code": code()})

    def save(folder: Path) -> None:
        (folder / FILE).write_text(text, encoding="utf-8")

    card = {"models": dict(models), "budget": settings.get("budget")}
    return registry.publish(home, NAME, save, as_of=as_of, card=card, now=now).version


def listed(home: Home) -> list[Policy]:
    """All versions, newest first."""
    with home.ledger.read() as conn:
        rows = conn.execute(select(books).where(books.c.name == NAME).order_by(books.c.created_at.desc(), books.c.version)).mappings().all()
    found = []
    for row in rows:
        told = json.loads((home.root / row["path"] / FILE).read_text(encoding="utf-8"))
        found.append(
            Policy(row["version"], told["models"], told["settings"], told["code"], from_micros(row["created_at"]), bool(row["active"]))
        )
    return found


def find(home: Home, version: str) -> Policy:
    """A version by its name or the beginning of it.

    Raises
    ------
    NotFound
        There is none of that name, or several begin so.
    """
    known = listed(home)
    found = [one for one in known if version and one.version.startswith(version)]
    if len(found) > 1:
        raise NotFound(f'{len(found)} policy versions begin with "{version}". Give more of the name.')
    if not found:
        raise unknown("policy version", version, [one.version for one in known[:10]])
    return found[0]


def replayable(home: Home, version: str) -> Policy:
    """A version that this code can decide with again; raises StateError when it was made by other code."""
    found = find(home, version)
    if found.code != code():
        raise StateError(
            f"Policy {found.version} was made by other code (fingerprint {found.code}, here {code()}): it may decide otherwise. "
            "Install the version of Tradewind that made it, or roll back to its models and decide anew."
        )
    return found


def model_path(home: Home, name: str, version: str | None) -> Path | None:
    """The folder of one stored version of a model; None for no version. Raises StateError when it is gone."""
    if version is None:
        return None
    with home.ledger.read() as conn:
        row = conn.execute(select(books.c.path).where(books.c.name == name, books.c.version == version)).scalar()
    path = None if row is None else home.root / str(row)
    if path is None or not path.is_dir():
        raise StateError(f'Version {version} of model "{name}" is gone. Restore {home.root / "models" / name} from a backup.')
    return path


def rollback(home: Home, version: str, *, now: datetime, by: str) -> Policy:
    """Make the models of a version the active ones again, those that it did not have inactive; nothing is deleted.

    ``by`` names who did it, for the audit log.

    Raises
    ------
    NotFound, StateError
        There is no such version, or the files of a model are gone.
    """
    found = find(home, version)
    for name, wanted in found.models.items():
        model_path(home, name, wanted)
    with home.ledger.write() as conn:
        for name, wanted in {**found.models, NAME: found.version}.items():
            conn.execute(update(books).where(books.c.name == name).values(active=False))
            if wanted is not None:
                conn.execute(update(books).where(books.c.name == name, books.c.version == wanted).values(active=True))
        audit.note(conn, f"person:{by}", "policy.rollback", f"policy:{found.version}", {"models": dict(found.models)}, at=now)
    return find(home, found.version)


class Policies:
    """A shop's policy versions: what :attr:`tradewind.shop.Shop.policies` gives. Prints as a table."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self._home = home
        self._now = now

    def all(self) -> list[Policy]:
        """All versions, newest first."""
        return listed(self._home)

    def rollback(self, version: str, *, by: str = "unnamed") -> Policy:
        """See :func:`rollback`."""
        return rollback(self._home, version, now=self._now(), by=by)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping of JSON values per version."""
        return [vars(one) | {"created_at": one.created_at.isoformat(), "same_code": one.code == code()} for one in self.all()]

    def __str__(self) -> str:
        lines = [
            f"{'*' if one.active else ' '} {one.version}  {one.created_at:%Y-%m-%d %H:%M}  budget {one.settings.get('budget')}  "
            + ", ".join(f"{name} {version[:8] if version else 'none'}" for name, version in one.models.items())
            + ("" if one.code == code() else "  (other code)")
            for one in self.all()
        ]
        return "\n".join(lines) or "No policy yet: decide a plan first."
