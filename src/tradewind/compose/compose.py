"""The verb: give every planned message of a plan its text, checked against fresh facts, or withhold it and say why.

Messages become "ready" (or "withheld", their reservation released) in chunks, one ledger transaction each. Consent and
suppression are read again here: nobody's message is written after a withdrawal. A killed run loses
nothing and doubles nothing: only rows that are still "planned" are taken up, and the same seed words them alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, bindparam, func, select, update

from tradewind import plugins
from tradewind.collect.consent import reason as stop
from tradewind.compose import locales
from tradewind.compose.base import Brief, Writer
from tradewind.compose.choosing import Choosing
from tradewind.compose.components import Components
from tradewind.compose.facts import FRESH, Facts, Storefront, gather, unsellable
from tradewind.compose.guard import Guard
from tradewind.compose.markets import Market
from tradewind.compose.material import Material
from tradewind.compose.writing import Refreshed, Text, preview, refresh, renew, write
from tradewind.decide.commit import settle
from tradewind.engine.ledger import Ledger, outbox
from tradewind.errors import InputError
from tradewind.types import Message, Offer, Reason, from_micros, micros, utc

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home

__all__ = ["Composed", "Refreshed", "Text", "compose", "preview", "refresh"]
CHUNK = 1000  # messages per transaction
SAMPLES = 20


@dataclass(frozen=True)
class Composed:
    """What one run did.

    ``ready`` and ``withheld``: messages written and held back by this run; ``waiting``: to be sent so late that today's facts
    would have expired; ``done``: of this plan, past "planned" before this run. ``verdicts`` counts "rule:severity",
    ``fallbacks`` what had to be replaced or left out, ``reasons`` why messages were withheld.
    """

    plan_id: str
    ready: int
    withheld: int
    waiting: int
    done: int
    reasons: Mapping[str, int]
    verdicts: Mapping[str, int]
    fallbacks: Mapping[str, int]
    written: Mapping[str, int]  # "channel locale" -> messages
    samples: tuple[Message, ...] = field(default=(), repr=False)
    ledger: Ledger | None = field(default=None, repr=False)
    writers: Mapping[str, int] = field(default_factory=dict)  # who wrote -> messages
    words: Mapping[str, int] = field(default_factory=dict)  # how the words were chosen -> messages

    def messages(self, limit: int | None = None) -> Iterator[Message]:
        """Yield the ready messages of the plan in the order of their ids, read from the ledger."""
        if self.ledger is None:
            yield from islice(self.samples, limit)
            return
        c, last = outbox.c, ""
        where = (c.plan_id == self.plan_id, c.state == "ready", c.message.is_not(None))
        left = limit
        while left is None or left > 0:
            page = CHUNK if left is None else min(CHUNK, left)
            query = select(c.message_id, c.message).where(*where, c.message_id > last).order_by(c.message_id).limit(page)
            with self.ledger.read() as conn:
                rows = conn.execute(query).all()
            yield from (Message.from_json(row.message) for row in rows)
            if len(rows) < page:
                return
            last, left = rows[-1].message_id, None if left is None else left - len(rows)

    def to_json(self) -> dict[str, Any]:
        """The counts, as one object for machines."""
        names = ("plan_id", "ready", "withheld", "waiting", "done", "reasons", "verdicts", "fallbacks", "written", "writers", "words")
        return {name: dict(value) if isinstance(value := getattr(self, name), Mapping) else value for name in names}

    def to_text(self) -> str:
        """The counts and two messages, as lines for people."""
        lines = [f"Composed plan {self.plan_id}: {self.ready:,} ready, {self.withheld:,} withheld, {self.waiting:,} waiting"]
        lines += [f"  done before: {self.done:,}"] if self.done else []
        for title, table in (
            ("written", self.written),
            ("writer", self.writers),
            ("words", self.words),
            ("withheld", self.reasons),
            ("fallback", self.fallbacks),
            ("verdict", self.verdicts),
        ):
            lines += [f"  {title}: {name}: {number:,}" for name, number in sorted(table.items(), key=lambda pair: (-pair[1], pair[0]))]
        if self.waiting:
            lines.append(f"  waiting: sent more than {FRESH.days} days from now; compose again closer to their time")
        for message in self.samples[:2]:
            lines += ["", f"  [{message.channel} {message.locale}]"]
            lines += [f"  {part}: {line}" for part, text in message.parts.items() if part != "html" for line in text.split("\n")]
        return "\n".join(lines)


def compose(
    home: Home,
    plan: Plan,
    *,
    now: datetime,
    locale: str | None = None,
    seed: int = 0,
    shop_url: str | None = None,
    offers: Sequence[Offer] | None = None,
    writer: str | Writer = Components.name,
    dry_run: bool = False,
) -> Composed:
    """Write the planned messages of a committed plan, each in its customer's language unless ``locale`` forces one.

    ``shop_url``: https address of an item's page with ``{item}`` in it, or a base to which the item's id is added; without one
    the texts have no links. ``offers``: the offers that the plan was made from, where the shop's tables do not hold them.
    ``writer``: the name of one (docs/writers.md), or one that is set up; where it has no text that stands, ``components`` has.
    ``dry_run``: everything is written and checked, nothing is stored.
    Run it again after a crash, or when ``deliver`` has sent stale messages back: what is done stays done.

    Raises
    ------
    InputError
        ``locale``, ``shop_url`` or ``writer`` is not allowed or not set up, or an offer's terms are not valid.
    """
    now = utc(now, what="now")
    author = writer if isinstance(writer, Writer) else opened(home, writer, now=now)
    if locale is not None and locale not in locales.LOCALES:
        raise InputError(
            f'compose: there are no texts in "{locale}". Allowed: {", ".join(locales.LOCALES)}, or none for each customer\'s own.'
        )
    _web(shop_url)
    store = Storefront(home.settings.name, home.settings.currency, shop_url, home.settings.zone)
    components = Components.open(home, now=now)
    choosing = Choosing.open(home, plan.features, known={name: components.library_of(name) for name in locales.LOCALES}, now=now)
    material = Material.read(home, plan, offers=offers, now=now)
    guard = Guard(own=home.root / "packs")
    run = _Run(home, material, store, locale, seed, now, author, components, choosing, guard, dry_run=dry_run)
    return run.all(plan.plan_id)


def opened(home: Home, name: str, *, now: datetime) -> Writer:
    """Return the writer of that name for a shop; raises InputError for an unknown one, or one that is not set up."""
    kind = plugins.load("compose", name, what="writer")
    if not (isinstance(kind, type) and issubclass(kind, Writer)):
        raise InputError(f'compose: PLUGIN of "{name}" must be a subclass of compose.base.Writer.')
    return kind.open(home, now=now)


def _web(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or any(character.isspace() for character in url):
        raise InputError(f'compose: shop_url must be a web address such as "https://shop.example/item/{{item}}"; got "{url}".')


@dataclass
class _Run:
    """One run: what it reads, and what it counted."""

    home: Home
    material: Material
    store: Storefront
    locale: str | None
    seed: int
    now: datetime
    writer: Writer
    components: Components
    choosing: Choosing
    guard: Guard
    dry_run: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    samples: list[Message] = field(default_factory=list)
    known: dict[tuple[str | None, str | None, str, str | None, Market], Facts] = field(default_factory=dict)

    def all(self, plan_id: str) -> Composed:
        """Take up the planned rows chunk by chunk."""
        c, last = outbox.c, ""
        with self.home.ledger.read() as conn:
            done = conn.execute(select(func.count()).where(c.plan_id == plan_id, c.state != "planned")).scalar() or 0
        while True:
            query = (
                select(
                    c.message_id, c.decision_id, c.customer, c.channel, c.send_at, c.expires_at, stop(c.customer, c.channel).label("stop")
                )
                .where(c.plan_id == plan_id, c.state == "planned", c.message_id > last)
                .order_by(c.message_id)
                .limit(CHUNK)
            )
            with self.home.ledger.read() as conn:
                rows = [dict(row) for row in conn.execute(query).mappings()]
            if not rows:
                break
            last = rows[-1]["message_id"]
            self._chunk(plan_id, rows)
        return Composed(
            plan_id, self.counts["ready"], self.counts["withheld"], self.counts["waiting"], done, dict(self.reasons),
            dict(self.verdicts), dict(self.fallbacks), dict(self.written), tuple(self.samples), self.home.ledger, dict(self.writers),
            dict(self.words),
        )  # fmt: skip

    def _chunk(self, plan_id: str, rows: list[dict[str, Any]]) -> None:
        told = self.material.of(rows)
        self.choosing.look([row["customer"] for row in rows], at=self.now)
        ready: list[Message] = []
        withheld: list[tuple[dict[str, Any], str]] = []
        for row in rows:
            send_at = max(from_micros(row["send_at"]), self.now)
            if send_at >= self.now + FRESH:
                self.counts["waiting"] += 1
                continue
            made = self._one(plan_id, row, told[row["decision_id"]], send_at)
            if isinstance(made, Message):
                ready.append(made)
            else:
                withheld.append((row, made))
        if not self.dry_run:
            with self.home.ledger.write() as conn:
                self._store(conn, ready, withheld)
        self._count(ready, withheld)

    def _one(self, plan_id: str, row: Mapping[str, Any], told: Mapping[str, Any], send_at: datetime) -> Message | str:
        """Return the message of one outbox row, or why there is none."""
        if row["stop"]:
            return f"no consent now: {row['stop']}"
        if told.get("missing"):
            return str(told["missing"])
        item, offer = self.material.items.get(told["item"]), self.material.offers.get(told["offer"])
        if told["item"] is not None and item is None:
            return "the item is not in the catalogue"
        if told["offer"] is not None and offer is None:
            return "the offer is not known"
        why = unsellable(item, offer, send_at=send_at)
        if why:
            return why
        locale, fallback = self._language(told)
        facts = self._facts(told, locale)
        reason, anchor = self.material.reason(told)
        facts = (facts.with_anchor(anchor) if anchor else facts).noting(fallback)
        customer, decision = row["customer"], row["decision_id"]
        chooser = self.choosing.chooser(customer, decision, at=send_at)
        brief = Brief(decision, row["channel"], locale, reason, chooser=chooser, segment=self.choosing.kind(customer, decision))
        writer = self.components if self.choosing.controlled(customer) else self.writer
        text = write(brief, facts=facts, seed=self.seed, at=send_at, writer=writer, guard=self.guard, last=self.components)
        for verdict in text.verdicts:
            self.verdicts[f"{verdict.rule}:{verdict.severity}"] += 1
        for note in text.facts.fallbacks:
            self.fallbacks[note.partition(" (")[0]] += 1
        if text.withheld:
            return text.withheld
        return self._message(plan_id, row, told, text, reason)

    def _message(self, plan_id: str, row: Mapping[str, Any], told: Mapping[str, Any], text: Text, reason: Reason | None) -> Message:
        ends = [moment for moment in (text.facts.ends_at, from_micros(row["expires_at"]) if row["expires_at"] else None) if moment]
        kept = {name: str(told[name]) for name in ("item", "offer", "zone", "country") if told[name] is not None}
        kept |= {"catalogue": self.material.mark}
        kept |= self.choosing.headers(row["customer"], row["decision_id"])
        self.words[self.choosing.way(row["customer"])] += 1
        empty = Message(
            row["message_id"], row["decision_id"], plan_id, row["customer"], row["channel"], text.facts.locale, {}, (), "", "",
            from_micros(row["send_at"]), min(ends, default=None), kept,
        )  # fmt: skip
        return renew(empty, text, seed=self.seed, reason=reason)

    def _language(self, told: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        if self.locale is not None:
            return self.locale, ()
        if told["locale"]:
            return locales.resolve(told["locale"]), ()
        home = "zh-CN" if self.store.currency == "CNY" else "en"
        return home, (f"locale: unknown, {home} used",)

    def _facts(self, told: Mapping[str, Any], locale: str) -> Facts:
        market = self.material.markets.of(told["locale"])
        key = (told["item"], told["offer"], locale, told["zone"], market)
        if key not in self.known:
            if len(self.known) > 50_000:
                self.known.clear()
            self.known[key] = gather(
                self.material.items.get(told["item"]),
                offer=self.material.offers.get(told["offer"]),
                store=replace(self.store, market=market, rates=self.material.markets.rates),
                locale=locale,
                zone=told["zone"],
                at=self.now,
                proof=self.material.proofs.get(told["item"]),
                history=self.material.histories.get(told["item"] or ""),
            )
        return self.known[key]

    def _store(self, conn: Connection, ready: Sequence[Message], withheld: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        """Move the rows on, if nobody else did: the state is part of every condition."""
        at, mine = micros(self.now), (outbox.c.message_id == bindparam("key"), outbox.c.state == "planned")
        if ready:
            values: dict[str, Any] = {
                "state": "ready",
                "message": bindparam("text"),
                "expires_at": bindparam("ends"),
                "detail": None,
                "updated_at": at,
            }
            rows = [{"key": m.message_id, "text": m.to_json(), "ends": micros(m.expires_at) if m.expires_at else None} for m in ready]
            conn.execute(update(outbox).where(*mine).values(**values), rows)
        for row, why in withheld:
            change = update(outbox).where(*mine).values(state="withheld", detail=why, updated_at=at)
            if conn.execute(change, {"key": row["message_id"]}).rowcount == 1:
                settle(conn, row["decision_id"], spent=0)

    def _count(self, ready: Sequence[Message], withheld: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        self.counts["ready"] += len(ready)
        self.counts["withheld"] += len(withheld)
        self.reasons.update(why.partition(" (")[0] for _, why in withheld)
        self.written.update(f"{m.channel} {m.locale}" for m in ready)
        self.writers.update(m.writer for m in ready)
        self.samples += ready[: max(SAMPLES - len(self.samples), 0)]
