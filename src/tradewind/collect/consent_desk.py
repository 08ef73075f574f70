"""Where people and programs speak about consent: grant, withdraw, ask by double opt-in, confirm, choose on a page.

    desk = shop.consents
    asked = desk.request("c-42", "email", locale="en", source="checkout")    # pending: it counts for nothing
    desk.confirm(asked.token)                                                # what the page does on POST: granted
    desk.withdraw("c-42", "email", source="service desk")
    desk.history("c-42")

Every change is one transaction: the act, what follows from it, and its row in the audit log. What is asked in which words
is kept with it. An address is only ever named by its keyed hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, func, select, update

from tradewind.collect import consent_texts, consent_tokens
from tradewind.collect.consent import UNSUBSCRIBED, Consents, spare, withdraw
from tradewind.collect.consent_acts import CONTACTS, GRANTED, WITHDRAWN, Act, append, history, in_force, known, purpose_of
from tradewind.collect.vault import Vault
from tradewind.engine import audit, ledger
from tradewind.engine.books_people import consent_requests
from tradewind.engine.books_people import consent_texts as kept_texts
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError
from tradewind.schema import Kind
from tradewind.types import Event, from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

BLOCK = 5_000  # acts per transaction
DAYS = 7  # how long a request may be confirmed
CUSTOMER = "person:customer"
_c = ledger.contacts.c


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a double opt-in; ``token`` goes into the link that the person gets on the channel itself."""

    request_id: str
    token: str = field(repr=False)
    expires_at: datetime
    text: consent_texts.Text


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a token of a request stands for."""

    state: str  # "open" | "granted" | "expired" | "moved" (another address by now) | "gone" (the customer was erased)
    customer: str
    channel: str
    text_hash: str
    new: bool = False  # this very call granted it


@dataclass(frozen=True, slots=True)
class Choice:
    """One switch of the preference centre."""

    channel: str  # or use
    on: bool
    fixed: str = ""  # why it cannot be switched on: "complaint", "bounce", ...


class Desk:
    """The consents of one shop; ``fault(jurisdiction, channel, basis)`` says why a law refuses a basis, or an empty text."""

    def __init__(self, home: Home, *, now: Callable[[], datetime], fault: Callable[[str, str, str], str] | None = None) -> None:
        self._home = home
        self._now = now
        self._fault = fault or (lambda _jurisdiction, _channel, _basis: "")
        self._vault = Vault(home)

    # -- said by a program or a member of staff ------------------------------------------------------------------------

    def grant(
        self,
        customer: str,
        channel: str,
        *,
        source: str,
        basis: str = "consent",
        locale: str | None = None,
        evidence: Mapping[str, Any] | None = None,
        jurisdiction: str | None = None,
        at: datetime | None = None,
        by: str = "policy:desk",
    ) -> bool:
        """Record that a customer agreed; returns whether that was new. ``locale``: the language of the words that were shown.

        ``at`` is the time of the act (now when left out). A suppressed address stays suppressed.

        Raises
        ------
        InputError
            There is no such channel or basis, the law of the jurisdiction asks for another basis, or the act lies in the future.
        """
        now = self._now()
        if jurisdiction is not None and (why := self._fault(jurisdiction, known(channel), basis)):
            raise InputError(why)
        if at is not None and at > now:
            raise InputError(f"A consent of {at:%Y-%m-%d %H:%M} lies in the future. Give the time at which it was given.")
        shown = None if locale is None else self.words(channel, locale)
        version, digest = (None, None) if shown is None else (shown.version, shown.hash)
        act = Act(customer, channel, GRANTED, at or now, source, basis, version, digest, evidence or {}, jurisdiction)
        with self._home.ledger.write() as conn:
            return _granted(conn, act if at else _last(conn, act), shown, by=by, now=now)

    def withdraw(
        self, customer: str, channel: str, *, source: str, evidence: Mapping[str, Any] | None = None, by: str = "policy:desk"
    ) -> bool:
        """Record that a customer withdrew, unless that is what counts already; returns whether something changed."""
        now = self._now()
        with self._home.ledger.write() as conn:
            return _withdrawn(conn, Act(customer, channel, WITHDRAWN, now, source, evidence=evidence or {}), by=by)

    def record(self, acts: Iterable[Act], *, by: str) -> int:
        """Enter many acts from another system with all that is known of them, in any order; returns how many were new. Idempotent.

        Raises
        ------
        InputError
            An act lies in the future, means nothing, or the law of its jurisdiction refuses its basis: then none of its block is entered.
        """
        now, new = self._now(), 0
        told = iter(acts)
        while block := list(islice(told, BLOCK)):
            for act in block:
                if act.at > now:
                    raise InputError(f'The consent of "{act.customer}" of {act.at:%Y-%m-%d %H:%M} lies in the future.')
                if act.status == GRANTED and act.jurisdiction and (why := self._fault(act.jurisdiction, known(act.channel), act.basis)):
                    raise InputError(f'The consent of "{act.customer}": {why}')
            with self._home.ledger.write() as conn:
                fresh = append(conn, block, now=now)
                if fresh:
                    audit.note(conn, by, "consent.recorded", "", {"acts": len(block), "new": fresh}, at=now)
            new += fresh
        return new

    def history(self, customer: str) -> list[Act]:
        """Everything that a customer said, in order of time."""
        with self._home.ledger.read() as conn:
            return history(conn, customer)

    # -- double opt-in -------------------------------------------------------------------------------------------------

    def request(
        self, customer: str, channel: str, *, locale: str, source: str, jurisdiction: str | None = None, days: float = DAYS
    ) -> Asked:
        """Open a request that the owner of the address has to confirm within ``days``. Until then nothing is granted.

        Raises
        ------
        InputError
            The customer has no address on the channel, the address must not be written to, or there is no such channel.
        """
        now, shown = self._now(), self.words(known(channel), locale)
        expires = now + timedelta(days=days)
        with self._home.ledger.write() as conn:
            address = conn.execute(select(_c.address_hash).where(_c.customer == customer, _c.channel == channel)).scalar()
            if address is None:
                raise InputError(f'Customer "{customer}" has no address for "{channel}" to confirm. Collect the contact point first.')
            stop = ledger.suppressions.c
            why = conn.execute(select(stop.reason).where(stop.address_hash == address, stop.channel == channel)).scalar()
            if why not in (None, UNSUBSCRIBED):
                raise InputError(
                    f'The address of customer "{customer}" on "{channel}" is suppressed ({why}): nobody may write to it, nor ask.'
                )
            named = json.dumps([customer, channel, address, micros(now), shown.hash])
            row = {
                "request_id": hashlib.sha256(named.encode()).hexdigest()[:32], "customer": customer, "channel": channel,
                "address_hash": address, "text_version": shown.version, "text_hash": shown.hash, "jurisdiction": jurisdiction,
                "source": source, "asked_at": micros(now), "expires_at": micros(expires), "confirmed_at": None,
            }  # fmt: skip
            consent_texts.keep(conn, shown)
            if insert_new(conn, consent_requests, [row]):
                audit.note(conn, "policy:desk", "consent.requested", f"customer:{customer}", {"channel": channel}, at=now)
        token = consent_tokens.sign(self._key(), consent_tokens.CONFIRM, str(row["request_id"]))
        return Asked(str(row["request_id"]), token, expires, shown)

    def requested(self, token: str) -> Confirmed:
        """What a request is worth now; changes nothing. Raises InputError for no token of ours."""
        with self._home.ledger.read() as conn:
            return self._standing(conn, self._request(conn, token))

    def confirm(self, token: str, *, evidence: Mapping[str, Any] | None = None) -> Confirmed:
        """Grant what was requested, once; a repetition changes nothing, also after a later withdrawal.

        Raises InputError for no token of ours.
        """
        now = self._now()
        with self._home.ledger.write() as conn:
            row = self._request(conn, token)
            standing = self._standing(conn, row)
            if standing.state != "open":
                return standing
            mine = consent_requests.c.request_id == row.request_id
            conn.execute(update(consent_requests).where(mine).values(confirmed_at=micros(now)))
            proof = {"request": row.request_id, "address_hash": row.address_hash, **(evidence or {})}
            source = f"double opt-in, {row.source}"
            act = Act(
                row.customer, row.channel, GRANTED, now, source, "double_opt_in", row.text_version, row.text_hash, proof, row.jurisdiction
            )
            _lift(conn, row.customer, row.channel, now=now)
            _granted(conn, _last(conn, act), None, by=CUSTOMER, now=now)
            return Confirmed("granted", row.customer, row.channel, row.text_hash, new=True)

    # -- on the pages --------------------------------------------------------------------------------------------------

    def unsubscribe(self, customer: str, channel: str, *, decision_id: str, source: str = "one-click") -> bool:
        """Withdraw from one channel, and let the event log know which decision it was; repeated, it changes nothing."""
        now = self._now()
        with self._home.ledger.write() as conn:
            evidence = {"decision": decision_id}
            new = _withdrawn(conn, Act(customer, channel, WITHDRAWN, now, source, evidence=evidence), by=CUSTOMER)
        key = hashlib.sha256(json.dumps([decision_id, customer, channel]).encode()).hexdigest()[:32]
        event = Event(
            f"unsubscribe-{key}", now, Kind.UNSUBSCRIBE.value, source, customer=customer, channel=channel, decision_id=decision_id
        )
        self._home.log.append([event], now=now)
        return new

    def preferences_token(self, customer: str, channel: str) -> str:
        """A token for the preference centre of a customer, to be sent on ``channel`` only."""
        return consent_tokens.sign(self._key(), consent_tokens.PREFERENCES, customer, channel)

    def opened(self, token: str) -> tuple[str, str]:
        """Customer and channel of such a token; raises InputError for no token of ours."""
        customer, channel = consent_tokens.verify(self._key(), consent_tokens.PREFERENCES, token)
        return customer, channel

    def reach(self) -> dict[str, int]:
        """How many customers may be contacted on each channel now."""
        pairs = Consents(self._home).sendable()
        return {one["values"]: one["counts"] for one in pairs["channel"].value_counts().to_pylist()}

    def choices(self, customer: str) -> tuple[Choice, ...]:
        """The switches that concern a customer: the channels with an address or a word about them, and personalisation; () once erased."""
        consents = Consents(self._home)
        with self._home.ledger.read() as conn:
            said = in_force(conn, customer)
            reached = set(conn.execute(select(_c.channel).where(_c.customer == customer)).scalars())
            why = {channel: consents.allowed(conn, customer, channel)[1] for channel in CONTACTS if channel in reached | said.keys()}
            if "erased" in why.values() or not (said or reached):
                return ()
            found = [Choice(channel, reason == "", _fixed(reason)) for channel, reason in why.items()]
            return (*found, Choice("personalisation", in_force(conn, customer).get("personalisation", True)))

    def choose(self, customer: str, wanted: Mapping[str, bool], *, locale: str, source: str, evidence: Mapping[str, Any]) -> list[str]:
        """Switch what differs from now, and nothing else; returns the names of what changed."""
        now, open_ = self._now(), {choice.channel: choice for choice in self.choices(customer)}
        changed = [name for name, on in wanted.items() if name in open_ and open_[name].on != on and not (on and open_[name].fixed)]
        texts = {name: self.words(name, locale) for name in changed}
        with self._home.ledger.write() as conn:
            for name in changed:
                shown, status = texts[name], GRANTED if wanted[name] else WITHDRAWN
                act = Act(customer, name, status, now, source, "consent", shown.version, shown.hash, evidence)
                if status == WITHDRAWN:
                    _withdrawn(conn, act, by=CUSTOMER)
                    consent_texts.keep(conn, shown)
                else:
                    _lift(conn, customer, name, now=now)
                    _granted(conn, _last(conn, act), shown, by=CUSTOMER, now=now)
        return changed

    def agreed_words(self, text_hash: str) -> tuple[str, str]:
        """The language and the words of this hash, as they were shown."""
        query = select(kept_texts.c.locale, kept_texts.c.body).where(kept_texts.c.text_hash == text_hash)
        with self._home.ledger.read() as conn:
            row = conn.execute(query).one()
        return row.locale, row.body

    def words(self, channel: str, locale: str) -> consent_texts.Text:
        """The words that a person is asked with about a channel or a use, filled in."""
        shop = self._home.settings.name
        return consent_texts.text(self._home.root, purpose_of(channel), locale, shop=shop, channel=channel)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _key(self) -> bytes:
        return self._vault.key("consent")

    def _request(self, conn: Connection, token: str) -> Row[Any]:
        (name,) = consent_tokens.verify(self._key(), consent_tokens.CONFIRM, token)
        query = select(consent_requests).where(consent_requests.c.request_id == name).with_for_update()
        row = conn.execute(query).one_or_none()
        if row is None:
            raise InputError("This is no valid confirm link of this shop. Take the link from the message, whole.")
        return row

    def _standing(self, conn: Connection, row: Row[Any]) -> Confirmed:
        address = conn.execute(select(_c.address_hash).where(_c.customer == row.customer, _c.channel == row.channel)).scalar()
        if row.confirmed_at is not None:
            state = "granted"
        elif Consents(self._home).allowed(conn, row.customer, row.channel)[1] == "erased":
            state = "gone"
        elif row.expires_at <= micros(self._now()):
            state = "expired"
        else:
            state = "open" if address == row.address_hash else "moved"
        return Confirmed(state, row.customer, row.channel, row.text_hash)


def _granted(conn: Connection, act: Act, shown: consent_texts.Text | None, *, by: str, now: datetime) -> bool:
    if shown is not None:
        consent_texts.keep(conn, shown)
    new = append(conn, [act], now=now) > 0
    if new:
        detail = {"channel": act.channel, "basis": act.basis, "text": act.text_hash}
        audit.note(conn, by, "consent.granted", f"customer:{act.customer}", detail, at=now)
    return new


def _withdrawn(conn: Connection, act: Act, *, by: str) -> bool:
    if in_force(conn, act.customer).get(act.channel) is False:
        spare(conn, act)  # an import may have known of the withdrawal, but not of the address
        return False
    return withdraw(conn, _last(conn, act), actor=by, now=act.at)


def _last(conn: Connection, act: Act) -> Act:
    """The act, dated so that it is the last word: what a person says now counts, whatever a wrong clock dated later."""
    c = ledger.consents.c
    said = conn.execute(select(func.max(c.at)).where(c.customer == act.customer, c.channel == act.channel)).scalar()
    if said is None or from_micros(said) < act.at:
        return act
    return replace(act, at=from_micros(said + (act.status == GRANTED)))


def _lift(conn: Connection, customer: str, channel: str, *, now: datetime) -> None:
    """Let the owner of an address come back after an unsubscribe. Others who share the address have left by it: that is entered first."""
    address = conn.execute(select(_c.address_hash).where(_c.customer == customer, _c.channel == channel)).scalar()
    stop = ledger.suppressions.c
    mine = (stop.address_hash == address, stop.channel == channel, stop.reason == UNSUBSCRIBED)
    since = None if address is None else conn.execute(select(stop.at).where(*mine)).scalar()
    if since is None:
        return
    for other in conn.execute(
        select(_c.customer).where(_c.address_hash == address, _c.channel == channel, _c.customer != customer)
    ).scalars():
        if in_force(conn, other).get(channel):
            append(conn, [Act(other, channel, WITHDRAWN, now, "unsubscribed by the same address")], now=now)
    conn.execute(delete(ledger.suppressions).where(*mine))
    detail = {"channel": channel, "since": from_micros(since).isoformat()}
    audit.note(conn, CUSTOMER, "suppression.lifted", f"customer:{customer}", detail, at=now)


def _fixed(reason: str) -> str:
    kind, _, why = reason.partition(":")
    return why if kind == "suppressed" and why != UNSUBSCRIBED else ""
