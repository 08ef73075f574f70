"""Who may do what over HTTP: keys for programs, log-in for people, roles for both.

    access = Access(home, now=clock)
    key = access.new_key("storefront", "site")             # shown once; the ledger keeps its hash
    caller = access.of_key(key)                            # Caller("key:storefront", "site", ...), or None

A key is 256 random bits, so that one SHA-256 is enough; a password is hashed with Argon2id. What a key or a session says is
remembered for :data:`REMEMBERED`; a revoked one is refused after that time at the latest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, insert, select, update

from tradewind.engine import audit
from tradewind.engine.books_access import api_keys, user_sessions, users
from tradewind.errors import InputError, NotFound, unknown
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SCOPES = {
    "events": "send events",
    "recommend": "ask for recommendations",
    "decide": "ask for decisions",
    "read": "look at plans, reports, segments, forecasts and single customers",
    "campaigns": "plan, approve, apply and pause campaigns and experiments",
    "copy": "approve, retire and propose words",
    "consent": "record what customers agree to",
    "risk": "check for risk and settle what waits for a review",
    "operate": "run jobs, roll models back, replay messages",
    "privacy": "export and erase a person",
    "metrics": "read the service's own figures",
    "admin": "manage keys, people and settings",
}
ROLES: Mapping[str, frozenset[str]] = {
    "site": frozenset({"events", "recommend", "decide"}),
    "backend": frozenset({"events", "recommend", "decide", "read", "consent", "risk"}),
    "monitor": frozenset({"metrics"}),
    "viewer": frozenset({"read"}),
    "marketer": frozenset({"read", "campaigns", "copy"}),
    "operator": frozenset({"read", "campaigns", "copy", "consent", "risk", "operate", "metrics"}),
    "privacy": frozenset({"read", "consent", "privacy"}),
    "admin": frozenset(SCOPES),
}
REMEMBERED = timedelta(seconds=5)
SESSION = timedelta(hours=12)
SHORTEST = 12  # characters of a password
_MANY = 10_000  # answers that are remembered
_NAME = re.compile(r"[\w][\w .@-]{0,98}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: ``name`` is ``key:NAME`` or ``person:NAME``; ``csrf`` is what a session's changing requests must carry."""

    name: str
    role: str
    scopes: frozenset[str]
    csrf: str | None = None

    @property
    def actor(self) -> str:
        """How the audit log names them: a program acts as the policy that it carries out."""
        kind, _, name = self.name.partition(":")
        return f"person:{name}" if kind == "person" else f"policy:key {name}"


class Access:
    """Keys, people and sessions of one shop. Safe to share between threads."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self._ledger, self._now = home.ledger, now
        self._hasher = PasswordHasher()
        self._known: dict[str, tuple[datetime, Caller | None]] = {}

    # -- keys of programs ----------------------------------------------------------------------------------------------

    def new_key(self, name: str, role: str, *, expires_at: datetime | None = None, by: str = "person:console") -> str:
        """Make a key and return it: ``tw_ID_SECRET``. It cannot be shown again."""
        _checked(name, role)
        key_id, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), self._now()
        if expires_at is not None and expires_at <= now:
            raise InputError(f"A key that expires at {expires_at.isoformat()} would be dead on arrival. Give a later time, or none.")
        row = {"key_id": key_id, "name": name, "role": role, "secret_hash": _hash(secret), "created_at": micros(now)}
        with self._ledger.write() as conn:
            conn.execute(insert(api_keys).values(**row, expires_at=expires_at and micros(expires_at)))
            audit.note(conn, by, "key.make", f"key:{name}", {"role": role, "id": key_id}, at=now)
        return f"tw_{key_id}_{secret}"

    def all_keys(self) -> list[dict[str, Any]]:
        """Every key without its secret, newest first."""
        shown = [column for column in api_keys.c if column.name != "secret_hash"]
        with self._ledger.read() as conn:
            rows = conn.execute(select(*shown).order_by(api_keys.c.created_at.desc(), api_keys.c.key_id)).mappings().all()
        return [_timed(dict(row)) for row in rows]

    def revoke(self, key_id: str, *, by: str = "person:console") -> None:
        """Refuse a key from now on. Raises NotFound for an unknown id."""
        now = self._now()
        with self._ledger.write() as conn:
            found = conn.execute(select(api_keys.c.name).where(api_keys.c.key_id == key_id)).scalar()
            if found is None:
                raise NotFound(f'There is no key "{key_id}". Give the id that the list of keys shows.')
            conn.execute(
                update(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=micros(now))
            )
            audit.note(conn, by, "key.revoke", f"key:{found}", {"id": key_id}, at=now)
        self._known.clear()

    def of_key(self, key: str) -> Caller | None:
        """Who holds a key; None for one that is wrong, expired or revoked."""
        return self._remembered("key " + _hash(key), lambda: self._key(key))

    def glance_key(self, key: str) -> Caller | None:
        """Who holds a key, if that was asked a moment ago; None when :meth:`of_key` has to look."""
        known = self._known.get("key " + _hash(key))
        return known[1] if known is not None and known[0] <= self._now() < known[0] + REMEMBERED else None

    def _key(self, key: str) -> Caller | None:
        mark, _, rest = key.partition("_")
        key_id, _, secret = rest.partition("_")
        if mark != "tw" or not secret or not re.fullmatch(r"[0-9a-f]{12}", key_id):
            return None
        with self._ledger.read() as conn:
            row = conn.execute(select(api_keys).where(api_keys.c.key_id == key_id)).mappings().first()
        if row is None or not hmac.compare_digest(row["secret_hash"], _hash(secret)):
            return None
        if row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= micros(self._now())):
            return None
        return Caller(f"key:{row['name']}", row["role"], ROLES[row["role"]])

    # -- people --------------------------------------------------------------------------------------------------------

    def add_user(self, name: str, password: str, role: str, *, by: str = "person:console") -> None:
        """Let a person in, or give one who was there another password and role; their sessions end."""
        _checked(name, role)
        if len(password) < SHORTEST:
            raise InputError(f"The password is too short: {len(password)} characters. Give at least {SHORTEST}; four random words do.")
        hashed, now = self._hasher.hash(password), self._now()
        values = {"role": role, "password_hash": hashed, "disabled_at": None}
        with self._ledger.write() as conn:
            if not conn.execute(update(users).where(users.c.name == name).values(**values)).rowcount:
                conn.execute(insert(users).values(name=name, created_at=micros(now), **values))
            conn.execute(delete(user_sessions).where(user_sessions.c.name == name))
            audit.note(conn, by, "user.set", f"user:{name}", {"role": role}, at=now)
        self._known.clear()

    def disable_user(self, name: str, *, by: str = "person:console") -> None:
        """Let a person in no more; their sessions end. Raises NotFound for an unknown name."""
        now = self._now()
        with self._ledger.write() as conn:
            if not conn.execute(update(users).where(users.c.name == name).values(disabled_at=micros(now))).rowcount:
                raise unknown("person", name, conn.execute(select(users.c.name)).scalars().all())
            conn.execute(delete(user_sessions).where(user_sessions.c.name == name))
            audit.note(conn, by, "user.disable", f"user:{name}", at=now)
        self._known.clear()

    def people(self) -> list[dict[str, Any]]:
        """Everybody who may log in, by name; who may no longer has ``disabled_at``."""
        shown = [column for column in users.c if column.name != "password_hash"]
        with self._ledger.read() as conn:
            rows = conn.execute(select(*shown).order_by(users.c.name)).mappings().all()
        return [_timed(dict(row)) for row in rows]

    def log_in(self, name: str, password: str) -> tuple[str, Caller] | None:
        """A new session's token and who it is; None for a wrong name or password, which take equally long."""
        with self._ledger.read() as conn:
            row = conn.execute(select(users).where(users.c.name == name, users.c.disabled_at.is_(None))).mappings().first()
        try:
            self._hasher.verify(row["password_hash"] if row else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        if row is None:
            return None
        token, now = secrets.token_urlsafe(32), self._now()
        with self._ledger.write() as conn:
            conn.execute(delete(user_sessions).where(user_sessions.c.expires_at <= micros(now)))
            conn.execute(
                insert(user_sessions).values(token_hash=_hash(token), name=name, created_at=micros(now), expires_at=micros(now + SESSION))
            )
        return token, _person(name, row["role"], token)

    def log_out(self, token: str) -> None:
        """End a session; nothing happens for one that is not there."""
        with self._ledger.write() as conn:
            conn.execute(delete(user_sessions).where(user_sessions.c.token_hash == _hash(token)))
        self._known.pop("session " + _hash(token), None)

    def of_session(self, token: str) -> Caller | None:
        """Who a session belongs to; None for one that ended."""
        return self._remembered("session " + _hash(token), lambda: self._session(token))

    def _session(self, token: str) -> Caller | None:
        asked = (
            select(users.c.name, users.c.role)
            .join(user_sessions, user_sessions.c.name == users.c.name)
            .where(
                user_sessions.c.token_hash == _hash(token), user_sessions.c.expires_at > micros(self._now()), users.c.disabled_at.is_(None)
            )
        )
        with self._ledger.read() as conn:
            row = conn.execute(asked).first()
        return None if row is None else _person(row.name, row.role, token)

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _nobody(self) -> str:
        """A hash that no password fits, so that an unknown name takes as long as a wrong password."""
        if not hasattr(self, "_dummy"):
            self._dummy = self._hasher.hash(secrets.token_hex(16))
        return self._dummy

    def _remembered(self, what: str, ask: Callable[[], Caller | None]) -> Caller | None:
        now = self._now()
        if (known := self._known.get(what)) is not None and now - REMEMBERED < known[0] <= now:
            return known[1]
        if len(self._known) >= _MANY:
            self._known.clear()
        found = ask()
        self._known[what] = (now, found)
        return found


def _person(name: str, role: str, token: str) -> Caller:
    csrf = hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()
    return Caller(f"person:{name}", role, ROLES[role], csrf)


def _checked(name: str, role: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f'"{name}" is no name: letters, digits, spaces and . @ - _, at most 99, beginning with a letter or a digit.')
    if role not in ROLES:
        raise unknown("role", role, ROLES)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _timed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: from_micros(value) if key.endswith("_at") and value is not None else value for key, value in row.items()}
