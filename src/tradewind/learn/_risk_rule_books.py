"""What the ledger knows of risk: permits of rules, whom the shop trusts, verdicts, their reviews, and what turned out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row, and_, delete, or_, select, update

from tradewind import schema
from tradewind.engine import audit
from tradewind.engine import books_risk as books
from tradewind.engine.ledger import insert_new, upsert
from tradewind.errors import InputError, NotFound, StateError, unknown
from tradewind.learn.risk_rules import Rule
from tradewind.params import Number
from tradewind.params import check as within
from tradewind.types import from_micros, micros

KINDS = ("customer", "device", "address")  # what can be trusted
IDENTITIES = ("customer", "device", "address", "card")  # never copied into the reasons of a verdict
DECISIONS = {"approve": "approved", "reject": "rejected"}
POLICY = "policy:risk"
_SUBJECT = re.compile(r"[^\s@]{1,255}")


@dataclass(frozen=True)
class Fired:
    """A rule that fired: what it says, why in both languages, and what it looked at (None: not known)."""

    rule: str
    verdict: str
    zh: str
    en: str
    values: Mapping[str, float | str | bool | None]


@dataclass(frozen=True)
class Check:
    """One verdict. ``trusted``: the kind of key that let it pass; ``shadow``: what rules that only watch would have said.

    ``state`` is "open" for a review that waits, then "approved" or "rejected". ``held``: rules whose file says acting, but that only
    watch because this text of theirs was not activated.
    """

    check_id: str
    at: datetime
    verdict: str
    moment: str | None = None
    customer: str | None = None
    amount: int | None = None  # minor units
    trusted: str | None = None
    fired: tuple[Fired, ...] = ()
    shadow: tuple[Fired, ...] = ()
    held: tuple[str, ...] = ()
    state: str | None = None
    by: str | None = None
    note: str | None = None
    settled_at: datetime | None = None

    def reasons(self, locale: str = "en") -> list[str]:
        """Why, one sentence per rule that acted."""
        return [one.zh if locale.startswith("zh") else one.en for one in self.fired]


@dataclass(frozen=True)
class Trusted:
    """Whom no rule stops until ``expires_at``: who said so, and why."""

    kind: str
    subject: str
    by: str
    why: str
    at: datetime
    expires_at: datetime


def fired(rules: Sequence[Rule], features: Mapping[str, Any]) -> tuple[Fired, ...]:
    """The rules with what they looked at, identifiers left out."""
    told = []
    for rule in rules:
        values = {name: _finite(features.get(name)) for name in rule.fields if name not in IDENTITIES}
        told.append(Fired(rule.name, rule.verdict, rule.zh, rule.en, values))
    return tuple(told)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value - value != 0 else value


# -- rules ----------------------------------------------------------------------------------------------------------------


def permits(conn: Connection) -> dict[str, str]:
    """Rule -> digest of the text that may act."""
    table = books.risk_permits
    return {row.rule: row.digest for row in conn.execute(select(table.c.rule, table.c.digest))}


def tested(conn: Connection) -> dict[tuple[str, str], dict[str, Any]]:
    """(rule, digest) -> the figures of its newest backtest, with ``at`` and ``as_of``."""
    rows = conn.execute(select(books.risk_backtests))
    return {(r.rule, r.digest): {**json.loads(r.figures), "at": from_micros(r.at), "as_of": from_micros(r.as_of)} for r in rows}


def keep_backtests(
    conn: Connection, figures: Sequence[Mapping[str, Any]], rules: Sequence[Rule], *, as_of: datetime, by: str, now: datetime
) -> None:
    """Note that these texts were backtested; the older backtest of the same text goes."""
    rows = [
        {"rule": rule.name, "digest": rule.digest, "at": micros(now), "as_of": micros(as_of), "figures": json.dumps(one, sort_keys=True)}
        for rule, one in zip(rules, figures, strict=True)
    ]
    upsert(conn, books.risk_backtests, rows, update=("at", "as_of", "figures"))
    for rule in rules:
        audit.note(conn, by, "risk.backtest", f"rule:{rule.name}", {"digest": rule.digest, "text": rule.text}, at=now)


def permit(conn: Connection, rule: Rule, *, by: str, now: datetime) -> None:
    """Let this text act; raises StateError for one that was not backtested."""
    if (rule.name, rule.digest) not in tested(conn):
        raise StateError(
            f'The rule "{rule.name}" was not backtested as it now reads, so it cannot act. Run: tradewind risk backtest {rule.name}'
        )
    row = {"rule": rule.name, "digest": rule.digest, "by": by, "at": micros(now)}
    upsert(conn, books.risk_permits, [row], update=("digest", "by", "at"))
    audit.note(conn, by, "risk.activate", f"rule:{rule.name}", {"digest": rule.digest, "text": rule.text}, at=now)


def forbid(conn: Connection, name: str, *, by: str, now: datetime) -> bool:
    """Let a rule only watch from now on; returns whether it acted before."""
    gone = conn.execute(delete(books.risk_permits).where(books.risk_permits.c.rule == name)).rowcount
    if gone:
        audit.note(conn, by, "risk.shadow", f"rule:{name}", at=now)
    return bool(gone)


# -- trust ----------------------------------------------------------------------------------------------------------------


def trust(conn: Connection, kind: str, subject: str, *, by: str, why: str, days: float, now: datetime) -> Trusted:
    """Let a customer, device or address pass for some days; a later word replaces an earlier one."""
    if kind not in KINDS:
        raise unknown("kind of key", kind, KINDS)
    if not _SUBJECT.fullmatch(subject):
        raise InputError(
            f"A {kind} on the whitelist is named by its key in the events, without spaces or @ (an address by its hash); got {subject!r}."
        )
    if not why.strip():
        raise InputError("Say why: whoever finds this entry in a year wants to know.")
    within("whitelist", {"days": days}, {"days": Number(0.01, 3_660)})
    found = Trusted(kind, subject, by, why, now, now + timedelta(days=days))
    row = {"kind": kind, "subject": subject, "by": by, "why": why, "at": micros(now), "expires_at": micros(found.expires_at)}
    upsert(conn, books.risk_trusted, [row], update=("by", "why", "at", "expires_at"))
    audit.note(conn, by, "risk.trust", f"{kind}:{subject}", {"expires_at": found.expires_at.isoformat()}, at=now)
    return found


def distrust(conn: Connection, kind: str, subject: str, *, by: str, now: datetime) -> None:
    """Take an entry off the whitelist; raises NotFound where there is none."""
    c = books.risk_trusted.c
    if not conn.execute(delete(books.risk_trusted).where(c.kind == kind, c.subject == subject)).rowcount:
        raise NotFound(f'There is no {kind} "{subject}" on the whitelist. See it with: tradewind risk allow')
    audit.note(conn, by, "risk.distrust", f"{kind}:{subject}", at=now)


def whitelist(conn: Connection, *, now: datetime) -> list[Trusted]:
    """The entries that still count, by kind and name."""
    table = books.risk_trusted
    query = select(table).where(table.c.expires_at > micros(now)).order_by(table.c.kind, table.c.subject)
    return [Trusted(r.kind, r.subject, r.by, r.why, from_micros(r.at), from_micros(r.expires_at)) for r in conn.execute(query)]


def passes(conn: Connection, features: Mapping[str, Any], *, now: datetime) -> str | None:
    """The first kind of key of a moment that is on the whitelist."""
    c = books.risk_trusted.c
    keys = [and_(c.kind == kind, c.subject == features[kind]) for kind in KINDS if features.get(kind) is not None]
    found = set(conn.execute(select(c.kind).where(or_(*keys), c.expires_at > micros(now))).scalars()) if keys else set()
    return next((kind for kind in KINDS if kind in found), None)


# -- verdicts -------------------------------------------------------------------------------------------------------------


def keep(conn: Connection, check: Check, *, by: str) -> bool:
    """Write a verdict and its row of the audit log, unless it was written before; returns whether it is new."""
    told = {"fired": _listed(check.fired), "shadow": _listed(check.shadow)}
    values = {name: value for one in (*check.fired, *check.shadow) for name, value in one.values.items()}
    row = {
        "check_id": check.check_id,
        "at": micros(check.at),
        "moment": check.moment,
        "customer": check.customer,
        "verdict": check.verdict,
        "trusted": check.trusted,
        "features": json.dumps(values, ensure_ascii=False, sort_keys=True),
        "amount": check.amount,
        "state": check.state,
        **{name: json.dumps(some, ensure_ascii=False) for name, some in told.items()},
    }
    if not insert_new(conn, books.risk_checks, [row]):
        return False
    subject = f"customer:{check.customer}" if check.customer else f"check:{check.check_id}"
    names = {name: [one["rule"] for one in some] for name, some in told.items()}
    audit.note(conn, by, "risk.verdict", subject, {"check": check.check_id, "verdict": check.verdict, **names}, at=check.at)
    return True


def identity(moment: str | None, features: Mapping[str, Any], *, now: datetime) -> str:
    """The id of a verdict: the same question at the same time is the same verdict."""
    text = json.dumps([moment, micros(now), sorted(features.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def one(conn: Connection, check_id: str) -> Check | None:
    """A verdict that was written down."""
    found = conn.execute(select(books.risk_checks).where(books.risk_checks.c.check_id == check_id)).one_or_none()
    return None if found is None else _check(found)


def checks(conn: Connection, *, state: str | None, limit: int) -> list[Check]:
    """Verdicts: reviews of a state, oldest first, or the newest of all."""
    c = books.risk_checks.c
    query = select(books.risk_checks).limit(limit)
    query = query.order_by(c.at.desc(), c.check_id) if state is None else query.where(c.state == state).order_by(c.at, c.check_id)
    return [_check(row) for row in conn.execute(query)]


def settle(conn: Connection, check_id: str, decision: str, *, by: str, note: str, now: datetime) -> Check:
    """Decide a review once; the decision becomes the label of its moment."""
    if decision not in DECISIONS:
        raise unknown("decision", decision, DECISIONS)
    found = one(conn, check_id)
    if found is None:
        raise NotFound(f'There is no verdict "{check_id}". Reviews that wait: tradewind risk queue')
    if found.state is None:
        raise StateError(f'The verdict "{check_id}" is {found.verdict}: there is nothing to review. See: tradewind risk queue')
    c = books.risk_checks.c
    done = replace(found, state=DECISIONS[decision], by=by, note=note, settled_at=now)
    values = {"state": done.state, "by": by, "note": note, "settled_at": micros(now)}
    if not conn.execute(update(books.risk_checks).where(c.check_id == check_id, c.state == "open").values(values)).rowcount:
        found = one(conn, check_id) or found
        raise StateError(f'The review "{check_id}" was {found.state} by {found.by} on {found.settled_at:%Y-%m-%d}. It is decided once.')
    if found.moment is not None:
        label(conn, [(found.moment, decision == "reject", now)], source="review")
    subject = f"customer:{found.customer}" if found.customer else f"check:{check_id}"
    audit.note(conn, by, "risk.settle", subject, {"check": check_id, "decision": decision}, at=now)
    return done


def _listed(some: Iterable[Fired]) -> list[dict[str, Any]]:
    return [{"rule": one.rule, "verdict": one.verdict, "zh": one.zh, "en": one.en, "looked_at": list(one.values)} for one in some]


def _check(row: Row[Any]) -> Check:
    values = json.loads(row.features)
    sides: list[tuple[Fired, ...]] = [
        tuple(Fired(one["rule"], one["verdict"], one["zh"], one["en"], {name: values[name] for name in one["looked_at"]}) for one in told)
        for told in (json.loads(row.fired), json.loads(row.shadow))
    ]
    settled = None if row.settled_at is None else from_micros(row.settled_at)
    return Check(
        row.check_id, from_micros(row.at), row.verdict, row.moment, row.customer, row.amount, row.trusted, sides[0], sides[1],
        state=row.state, by=row.by, note=row.note, settled_at=settled,
    )  # fmt: skip


# -- labels ---------------------------------------------------------------------------------------------------------------


def label(conn: Connection, known: Iterable[tuple[str, bool, datetime]], *, source: str) -> int:
    """Note of moments whether they were fraud and since when that is known; returns how many. A later word replaces an earlier one."""
    rows = {moment: {"moment": moment, "fraud": int(fraud), "known_at": micros(at), "source": source} for moment, fraud, at in known}
    if rows:
        upsert(conn, books.risk_labels, list(rows.values()), update=("fraud", "known_at", "source"))
    return len(rows)


def keep_labels(conn: Connection, known: Iterable[tuple[str, bool, datetime]], *, by: str, now: datetime) -> int:
    """The same of a file, with a row of the audit log that says how many."""
    count = label(conn, known, source="file")
    if count:
        audit.note(conn, by, "risk.label", "risk:labels", {"count": count}, at=now)
    return count


def labels(conn: Connection) -> pa.Table:
    """What is known to be fraud: ``id`` of the moment and ``known_at``, as ``risk.truth`` takes it."""
    c = books.risk_labels.c
    rows = conn.execute(select(c.moment, c.known_at).where(c.fraud == 1).order_by(c.moment)).all()
    known = pa.array([row.known_at for row in rows], pa.int64()).cast(schema.TIME)
    return pa.table({"id": pa.array([row.moment for row in rows], pa.string()), "known_at": known})
