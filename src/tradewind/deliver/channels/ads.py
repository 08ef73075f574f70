"""Audiences for advertising platforms: hashed contact points of those who agreed to advertising, as additions and removals.

Handing a message off takes its customer into the audience of the plan; nothing leaves then. :meth:`Ads.publish` compares who may be in the
audience now with what the platform holds, and writes both differences: a customer who withdrew, was suppressed or erased, or
changed an address appears among the removals of the next file. Consent to advertising is its own (channel ``ads``), e-mail
and telephone are normalised as the platforms ask for it and hashed with SHA-256, and nothing else can get into a file.

A hashed address still names a person for whoever has the address: keep the files as carefully, and delete them once uploaded.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, and_, delete, literal, select

from tradewind.collect.consent import reason
from tradewind.collect.vault import Vault
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.engine import audit
from tradewind.engine.books_channels import members, uploads
from tradewind.engine.files import atomic_write
from tradewind.engine.ledger import contacts, insert_new, suppressions
from tradewind.errors import InputError, Terminal
from tradewind.types import Message, Receipt, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

ADS = "ads"  # the channel of consent to advertising
KINDS = {"email": "email", "sms": "phone"}  # channel of the contact point -> kind of hash
BARRING = ("erased", "complaint")
PAGE = 2_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Point = tuple[str, str]  # kind, digest


@dataclass(frozen=True)
class Published:
    """One upload: the files, and how many contact points are new, to be removed, and held by the platform afterwards."""

    audience: str
    folder: Path
    added: int
    removed: int
    held: int
    left_out: Mapping[str, int]  # customers without consent, and contact points that are no full e-mail address or telephone number


class Ads(Channel):
    """Collects customers into audiences; a message's audience is its plan."""

    idempotent = True  # a customer is in an audience once
    addressed = False

    def __init__(self, home: Home) -> None:
        self._home = home

    def __repr__(self) -> str:
        return f"Ads({str(self._home.root)!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:  # noqa: ARG003 - it needs no settings
        """The shop's own audiences; they need no settings."""
        return cls(home)

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:  # noqa: ARG002 - no address gets here
        """Take the customer of a message into the audience of its plan; without consent to advertising that is refused for good."""
        audience = _named(message.plan_id)
        with self._home.ledger.write() as conn:
            if why := conn.execute(select(reason(literal(message.customer), literal(ADS)))).scalar_one():
                raise Terminal(f"no advertising to this customer: {why}")
            insert_new(conn, members, [{"audience": audience, "customer": message.customer, "at": micros(at)}])
        return accepted(message, at=at, provider_id=f"audience {audience}")

    def leave(self, audience: str, customer: str) -> None:
        """Take a customer out of an audience; the next file removes them."""
        with self._home.ledger.write() as conn:
            conn.execute(delete(members).where(members.c.audience == audience, members.c.customer == customer))

    def publish(self, audience: str, folder: Path, *, now: datetime) -> Published:
        """Write ``additions.csv``, ``removals.csv`` and ``manifest.json`` for the next upload into a new folder ``<audience>-<time>``.

        The platform is believed to hold what the files say once they are written. A run that is killed before that repeats them; the
        platforms take a repeated addition or removal without harm.

        Raises
        ------
        InputError
            The audience's name is not allowed, the folder exists, or cannot be written.
        """
        _named(audience)
        u = uploads.c
        left_out: dict[str, int] = {}
        with self._home.ledger.read() as conn:
            held = {(row.kind, row.digest) for row in conn.execute(select(u.kind, u.digest).where(u.audience == audience))}
        wanted = set(self._points(audience, left_out))
        added, removed = sorted(wanted - held), sorted(held - wanted)
        place = folder / f"{audience}-{now:%Y%m%dT%H%M%S}"
        try:
            place.mkdir(parents=True)
            digests = {name: _write(place / name, points) for name, points in (("additions.csv", added), ("removals.csv", removed))}
            about: dict[str, Any] = {
                "audience": audience,
                "at": now.isoformat(),
                "normalisation": "e-mail: trimmed, NFKC, lower case; telephone: E.164 with +; then SHA-256 in lower-case hexadecimal",
                "consent": "advertising, as of this time",
                "files": {name: {"rows": rows, "sha256": digest} for name, (rows, digest) in digests.items()},
                "held_after": len(wanted),
                "left_out": left_out,
            }
            atomic_write(place / "manifest.json", json.dumps(about, indent=2).encode())
        except OSError as error:
            raise InputError(f"{place} cannot be written: {error.strerror}. Give a folder of your own, and a later time.") from error
        with self._home.ledger.write() as conn:
            for kind, digest in removed:
                conn.execute(delete(uploads).where(and_(u.audience == audience, u.kind == kind, u.digest == digest)))
            insert_new(conn, uploads, [{"audience": audience, "kind": kind, "digest": digest} for kind, digest in added])
            counts = {"added": len(added), "removed": len(removed), "held": len(wanted)}
            audit.note(conn, "policy:deliver", "audience.published", f"audience:{audience}", counts, at=now)
        return Published(audience, place, len(added), len(removed), len(wanted), left_out)

    def _points(self, audience: str, left_out: dict[str, int]) -> Iterator[Point]:
        """The hashed contact points of the members who agree now, page by page."""
        vault, last, m = Vault(self._home), "", members.c
        query = (
            select(m.customer, reason(m.customer, literal(ADS)).label("why")).where(m.audience == audience).order_by(m.customer).limit(PAGE)
        )
        while True:
            with self._home.ledger.read() as conn:
                rows = conn.execute(query.where(m.customer > last)).all()
                if not rows:
                    return
                last = rows[-1].customer
                agreed = [row.customer for row in rows if not row.why]
                found = vault.addresses(conn, [(name, channel) for name in agreed for channel in KINDS])
                barred = self._barred(conn, agreed)
            _count(left_out, "no consent", len(rows) - len(agreed))
            for (customer, channel), address in found.items():
                point = None if (customer, channel) in barred else hashed(KINDS[channel], address)
                if point is None:
                    _count(left_out, "contact points", 1)
                else:
                    yield point

    def _barred(self, conn: Connection, customers: Sequence[str]) -> set[tuple[str, str]]:
        """Contact points that are suppressed for good: whoever was erased, or complained, under another id is not advertised to."""
        k, s = contacts.c, suppressions.c
        pairs = select(k.customer, k.channel).join_from(contacts, suppressions, k.address_hash == s.address_hash)
        rows = conn.execute(pairs.where(k.customer.in_(customers), s.reason.in_(BARRING)))
        return {(row.customer, row.channel) for row in rows}


def hashed(kind: str, address: str) -> Point | None:
    """The SHA-256 that platforms match on; None when the address is not one that they could have.

    >>> hashed("email", " Ann@Mail.Example ")[1][:8]
    '7f8ba384'
    """
    text = unicodedata.normalize("NFKC", address).strip()
    if kind == "email":
        text = text.lower()
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
            return None
    else:
        text = re.sub(r"[ ()./-]", "", text)
        text = f"+{text[2:]}" if text.startswith("00") else text
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", text):  # without a country it would match somebody else's
            return None
    return kind, hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, points: Sequence[Point]) -> tuple[int, str]:
    """Write one file, and refuse whatever is no hash: the last look before something leaves."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["kind", "sha256"])
    for kind, digest in points:
        if not _DIGEST.fullmatch(digest) or kind not in KINDS.values():
            raise InputError("An audience file holds hashed contact points only; one of these is none. Nothing was written.")
        writer.writerow([kind, digest])
    data = out.getvalue().encode()
    atomic_write(path, data)
    path.chmod(0o600)
    return len(points), hashlib.sha256(data).hexdigest()


def _named(audience: str) -> str:
    if not _NAME.fullmatch(audience):
        raise InputError(f'An audience has a name of 1 to 64 letters, digits, "_" and "-"; got "{audience}".')
    return audience


def _count(counts: dict[str, int], name: str, number: int) -> None:
    if number:
        counts[name] = counts.get(name, 0) + number


PLUGIN = Ads
