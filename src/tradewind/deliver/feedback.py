"""Bounces and complaints: read, matched to their message by a signed reference, and turned into suppressions and events.

A report counts once per message and kind, however often it comes; one without a genuine reference counts not at all. A permanent
failure suppresses the address, a complaint withdraws consent, and so do ``SOFT_LIMIT`` messages that failed softly within
``SOFT_DAYS``. Suppressed is the address that the customer has now: a report cannot name another one.
"""

from __future__ import annotations

import json
import mailbox
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, tuple_, update

from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver.channels._settings import section
from tradewind.deliver.feedback_mail import LARGEST, Kind, parse
from tradewind.deliver.feedback_refs import Reference, Returns
from tradewind.engine.books_channels import feedback
from tradewind.engine.ledger import contacts, insert_new, outbox
from tradewind.errors import InputError, NotFound
from tradewind.schema import Kind as Happened
from tradewind.types import Event, from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SOFT_LIMIT, SOFT_DAYS = 3, 30
PAGE = 5_000  # events per append
COUNTED = (Kind.HARD, Kind.SOFT, Kind.COMPLAINT)
EVENTS: Mapping[str, Happened] = {
    "hard": Happened.BOUNCE, "soft": Happened.BOUNCE, "complaint": Happened.COMPLAINT, "optout": Happened.UNSUBSCRIBE,
}  # fmt: skip
LEFT = ("accepted", "unknown", "handing_off", "failed")  # states of messages that may have left the shop
f, o = feedback.c, outbox.c


@dataclass(frozen=True)
class Read:
    """What one reading found: mails by kind; ``new`` of them by kind; ``repeated``, ``forged`` (no genuine reference), ``suppressed``."""

    mails: int
    kinds: Mapping[str, int]
    new: Mapping[str, int]
    repeated: int
    forged: int
    suppressed: int

    def to_json(self) -> dict[str, Any]:
        """The counts, as one object for machines."""
        return {name: dict(value) if isinstance(value := getattr(self, name), Mapping) else value for name in self.__dataclass_fields__}

    def to_text(self) -> str:
        """The counts, as lines for people."""
        new = sum(self.new.values())
        lines = [f"Read {self.mails:,} mails: {new:,} new, {self.repeated:,} known, {self.forged:,} without a genuine reference"]
        lines += [f"  {number:>9,}  {kind}" for kind, number in sorted(self.kinds.items())]
        lines.append(f"Suppressed: {self.suppressed:,} addresses")
        return "\n".join(lines)


@dataclass
class Feedback:
    """Takes what came back, mail by mail, in constant memory."""

    home: Home
    returns: Returns
    kinds: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, home: Home) -> Feedback:
        """As the shop's SMTP channel makes references: its key, and ``returns`` of ``[smtp]`` in ``channels.toml``."""
        table = section(home, "smtp")
        return cls(home, Returns(Vault(home).key("returns"), table.get("returns", str, None) if table else None))

    def take(self, data: bytes, *, now: datetime) -> Kind:
        """Take one mail and return what it is; a forged one is ``unknown``. Its event is in the log after :func:`log`."""
        said = parse(data)
        self.totals["mails"] += 1
        if said.kind not in COUNTED:
            self.kinds[said.kind] += 1
            return said.kind
        row = self._message(self.returns.genuine(said.text))
        if row is None:
            self.kinds[Kind.UNKNOWN] += 1
            self.totals["forged"] += 1
            return Kind.UNKNOWN
        self.kinds[said.kind] += 1
        taken = take(self.home, said.kind, row, status=said.status, now=now)
        self.new[said.kind] += taken.new
        self.totals["repeated"] += not taken.new
        self.totals["suppressed"] += taken.suppressed
        return said.kind

    def read(self, path: Path, *, now: datetime) -> Read:
        """Take every mail of a Maildir, an mbox or a single file, enter the events, and return the counts.

        Mails in ``new/`` of a Maildir are marked as seen when they are taken, and flagged when a person should look.

        Raises
        ------
        NotFound
            There is nothing at ``path``.
        InputError
            It is a folder without ``new`` and ``cur``, or cannot be read.
        """
        for data, seen in _mails(path):
            kind = self.take(data, now=now)
            seen(look=kind is Kind.UNKNOWN)
        log(self.home, now=now)
        return Read(
            self.totals["mails"],
            dict(self.kinds),
            dict(+self.new),
            self.totals["repeated"],
            self.totals["forged"],
            self.totals["suppressed"],
        )

    def _message(self, references: Iterable[Reference]) -> Mapping[str, Any] | None:
        """The message that the first genuine reference names, when it left this shop."""
        query = select(o.message_id, o.decision_id, o.customer, o.channel)
        for reference in references:
            name = reference.message_id
            where = o.message_id == name if reference.whole else o.message_id.between(name, name + "\x7f")
            with self.home.ledger.read() as conn:
                rows = conn.execute(query.where(where, o.state.in_(LEFT)).limit(2)).mappings().all()
            if len(rows) == 1:
                return dict(rows[0])
        return None


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether a report was new, and whether it suppressed an address."""

    new: bool
    suppressed: bool


def take(home: Home, kind: str, row: Mapping[str, Any], *, status: str, now: datetime) -> Taken:
    """Enter what was said of a message (``message_id``, ``decision_id``, ``customer``, ``channel``), once per kind.

    What follows for the person is written first: a kill in between is made good when the report comes again.
    """
    at, message_id = micros(now), row["message_id"]
    with home.ledger.read() as conn:
        if conn.execute(select(f.at).where(f.message_id == message_id, f.kind == kind)).first() is not None:
            return Taken(new=False, suppressed=False)
        digest = conn.execute(
            select(contacts.c.address_hash).where(contacts.c.customer == row["customer"], contacts.c.channel == row["channel"])
        ).scalar()
        worn = kind == Kind.SOFT and _soft(conn, row, since=micros(now - timedelta(days=SOFT_DAYS))) + 1 >= SOFT_LIMIT
    consents = Consents(home)
    if kind in (Kind.COMPLAINT, "optout"):
        if digest is not None and kind == Kind.COMPLAINT:
            consents.suppress(digest, row["channel"], "complaint", now)
        consents.withdraw(row["customer"], row["channel"], source=f"feedback:{kind}", at=now)
    elif digest is not None and (kind == Kind.HARD or worn):
        consents.suppress(digest, row["channel"], "hard_bounce" if kind == Kind.HARD else "soft_bounces", now)
    values = {name: row[name] for name in ("message_id", "decision_id", "customer", "channel")}
    with home.ledger.write() as conn:
        entry = {**values, "kind": str(kind), "at": at, "status": status[:64], "logged": kind not in EVENTS}
        new = insert_new(conn, feedback, [entry]) == 1
    return Taken(new, suppressed=digest is not None and (kind not in (Kind.SOFT, "delivered") or worn))


def log(home: Home, *, now: datetime) -> int:
    """Enter what was taken into the event log and return how many events; a killed run that is repeated enters none twice."""
    total = 0
    query = select(feedback).where(f.logged.is_(False)).order_by(f.message_id, f.kind).limit(PAGE)
    while True:
        with home.ledger.read() as conn:
            rows = conn.execute(query).mappings().all()
        if not rows:
            return total
        home.log.append((_event(dict(row)) for row in rows), now=now)
        with home.ledger.write() as conn:
            keys = [(row["message_id"], row["kind"]) for row in rows]
            conn.execute(update(feedback).where(tuple_(f.message_id, f.kind).in_(keys)).values(logged=True))
        total += len(rows)


def _event(row: Mapping[str, Any]) -> Event:
    kind = EVENTS[row["kind"]]
    return Event(
        id=f"{row['kind']}-{row['message_id']}",
        at=from_micros(row["at"]),
        kind=kind.value,
        source="deliver",
        customer=row["customer"],
        channel=row["channel"],
        decision_id=row["decision_id"],
        context=json.dumps({"class": row["kind"], "status": row["status"], "message": row["message_id"]}),
    )


def _soft(conn: Connection, row: Mapping[str, Any], *, since: int) -> int:
    """How many other messages to this customer failed softly since then."""
    mine = (f.customer == row["customer"], f.channel == row["channel"], f.kind == Kind.SOFT, f.at >= since)
    return int(conn.execute(select(func.count()).where(*mine, f.message_id != row["message_id"])).scalar_one())


class _Seen:
    """How a mail is marked when it was taken; a file of its own, or one in an mbox, is not."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def __call__(self, *, look: bool) -> None:
        if self._path is not None:
            self._path.rename(self._path.parent.parent / "cur" / f"{self._path.name.partition(':')[0]}:2,{'FS' if look else 'S'}")


def _mails(path: Path) -> Iterator[tuple[bytes, _Seen]]:
    if not path.exists():
        raise NotFound(f"There is nothing at {path}. Give a Maildir, an mbox file, or one mail.")
    try:
        if path.is_dir():
            if not ((path / "new").is_dir() and (path / "cur").is_dir()):
                raise InputError(f"{path} is no Maildir: it has no folders new and cur. Give a Maildir, an mbox file, or one mail.")
            for mail in sorted((path / "new").iterdir()):
                with mail.open("rb") as file:
                    data = file.read(LARGEST)
                yield data, _Seen(mail)
            return
        with path.open("rb") as file:
            head = file.read(5)
        if head != b"From ":
            with path.open("rb") as file:
                yield file.read(LARGEST), _Seen()
            return
        box = mailbox.mbox(path, create=False)
        try:
            for key in box.iterkeys():
                with box.get_file(key) as one:
                    yield one.read(LARGEST), _Seen()
        finally:
            box.close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Give a Maildir, an mbox file, or one mail.") from error
