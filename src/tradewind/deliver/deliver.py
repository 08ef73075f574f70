"""The verb: hand the due messages of a plan off, each once, and say what became of every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from tradewind import plugins, schema
from tradewind.collect.vault import Vault
from tradewind.deliver import checks, rules
from tradewind.deliver.channels.base import Channel
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.outbox import Row, columns
from tradewind.deliver.worker import Tally, Worker
from tradewind.engine.connect import first_line
from tradewind.engine.ledger import outbox, plans
from tradewind.errors import InputError, Transient, unknown
from tradewind.types import Receipt, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

PAGE = 500  # rows per read of a dry run
c = outbox.c
Senders = Mapping[str, Channel] | Channel
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Delivered:
    """What one run did.

    ``counts``: messages by what became of them in this run: ``accepted``, ``failed``, ``unknown``, ``suppressed``, ``retry``
    (a provider refused for now), ``deferred`` (not due, capped, or to be composed anew). ``reasons``: the same by reason.
    ``states``: all messages of the plan (or of the shop) by their state in the ledger after it. ``receipts``: the first
    10,000. ``outbox``: what a dry run would have sent.
    """

    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    states: Mapping[str, int]
    receipts: tuple[Receipt, ...] = field(default=(), repr=False)
    plan_id: str | None = None
    dry_run: bool = False
    outbox: Outbox | None = None

    def to_json(self) -> dict[str, Any]:
        """The counts, as one object for machines."""
        names = ("plan_id", "dry_run", "counts", "reasons", "states")
        return {name: dict(value) if isinstance(value := getattr(self, name), Mapping) else value for name in names}

    def to_text(self) -> str:
        """The counts, as lines for people."""
        what = "Dry run, nothing left the shop" if self.dry_run else "Delivered"
        lines = [f"{what}: {self.counts.get('accepted', 0):,} {'would be handed off' if self.dry_run else 'accepted'}"]
        lines += [f"  {number:>9,}  {reason}" for reason, number in sorted(self.reasons.items(), key=lambda pair: (-pair[1], pair[0]))]
        lines.append(
            "In the ledger: " + (", ".join(f"{number:,} {state}" for state, number in sorted(self.states.items())) or "no messages")
        )
        if self.counts.get("unknown"):
            lines.append("Unknown messages may have been sent. Ask the provider, then resolve or replay each of them.")
        if any("stale" in reason for reason in self.reasons):
            lines.append("Stale messages wait for compose: run it again, then deliver.")
        return "\n".join(lines)


def deliver(
    home: Home,
    plan_id: str | None = None,
    *,
    channels: Senders,
    now: Callable[[], datetime],
    limit: int | None = None,
    dry_run: bool = False,
    owner: str = "deliver",
    progress: Progress | None = None,
    step: Callable[[str], None] | None = None,
) -> Delivered:
    """Hand off the messages that are ready and due, of one plan or of all, and return what became of them.

    ``channels`` maps channel names (``schema.Channel``) to senders; one sender alone takes all. At most ``limit`` messages
    reach a provider. The rules of the shop (cap, attempts, leases) come from ``rules.load``. Run it again until nothing is
    left: what was refused for now or is not due yet stays in the queue. A killed run loses nothing: the next one takes up
    what it left. ``step`` is called with the name of every boundary that a kill could hit (``worker.STEPS``): for tests that kill
    there. Where a provider has a rate, the run waits for it, as long as ``now`` moves on. A dry run judges every ready message
    as of its own ``send_at`` and writes nothing: what would leave is in
    ``Delivered.outbox`` (the ``Outbox`` given as ``channels``, or a new one).

    Raises
    ------
    NotFound
        There is no such plan or no such channel.
    InputError, StateError
        A channel cannot work: wrong settings, credentials or certificate. Its messages stay ready.
    Locked
        Another worker delivers from this SQLite ledger.
    Transient
        The ledger went away, or its disk is full.
    """
    named = _named(channels)
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise InputError(f"deliver: limit must be a whole number from 1; got {limit!r}. Leave it out for no limit.")
    if plan_id is not None:
        _known(home, plan_id)
    shop_rules = rules.load(home)
    shop_rules = shop_rules if shop_rules.zones else replace(shop_rules, zones=(home.settings.zone,))
    if dry_run:
        sink = channels if isinstance(channels, Outbox) else Outbox()
        tally = _preview(home, plan_id, named, sink, now=micros(now()), shop_rules=shop_rules, limit=limit)
    else:
        sink = None
        try:
            tally = Worker(home, named, now, shop_rules, owner, plan_id, limit, progress, step or (lambda _name: None)).run()
        except DBAPIError as error:
            raise Transient(
                f"The ledger failed in the middle of a delivery ({first_line(error)}). Nothing is lost: the next run takes up what was "
                "under way. Make room on its disk, or start its server, then deliver again."
            ) from error
    return Delivered(
        counts=dict(sorted(tally.counts.items())),
        reasons=dict(sorted(tally.reasons.items())),
        states=_states(home, plan_id),
        receipts=tuple(tally.receipts),
        plan_id=plan_id,
        dry_run=dry_run,
        outbox=sink,
    )


def channel(home: Home, name: str, *, environment: Mapping[str, str]) -> Channel:
    """The sender ``name`` (a file of ``deliver/channels``) as this shop uses it, set up from ``environment``.

    Raises NotFound for an unknown name and InputError for a setting that is missing.
    """
    made: Channel = plugins.load("deliver.channels", name, what="sender").configured(home, environment)
    return made


def _named(channels: Senders) -> dict[str, Channel]:
    known = [name.value for name in schema.Channel]
    if isinstance(channels, Channel):
        return dict.fromkeys(channels.carries or known, channels)
    for name, sender in channels.items():
        if name not in known:
            raise unknown("channel", name, known)
        if not isinstance(sender, Channel):
            raise InputError(
                f'The sender of channel "{name}" must be a Channel of tradewind.deliver.channels; got {type(sender).__name__}.'
            )
        if sender.carries and name not in sender.carries:
            raise InputError(f'{sender!r} takes {", ".join(sender.carries)}, not {name}. Give channel "{name}" a sender of its own.')
    return dict(channels)


def _known(home: Home, plan_id: str) -> None:
    with home.ledger.read() as conn:
        if conn.execute(select(c.message_id).where(c.plan_id == plan_id).limit(1)).scalar() is not None:
            return
        found = conn.execute(select(plans.c.plan_id)).scalars().all()
    if plan_id not in found:
        raise unknown("plan", plan_id, found)


def _states(home: Home, plan_id: str | None) -> dict[str, int]:
    query = select(c.state, func.count()).group_by(c.state).order_by(c.state)
    with home.ledger.read() as conn:
        rows = conn.execute(query if plan_id is None else query.where(c.plan_id == plan_id)).all()
    return {str(row[0]): int(row[1]) for row in rows}


def _preview(
    home: Home, plan_id: str | None, named: Mapping[str, Channel], sink: Outbox, *, now: int, shop_rules: rules.Rules, limit: int | None
) -> Tally:
    """Judge every ready message as of its send time, without a write; what passes goes to ``sink``."""
    vault, tally, last = Vault(home), Tally(), ""
    addressed = {name for name, channel in named.items() if channel.addressed}
    planned: checks.Reached = {}
    query = select(*columns()).where(c.state == "ready", c.channel.in_(sorted(named))).order_by(c.message_id).limit(PAGE)
    if plan_id is not None:
        query = query.where(c.plan_id == plan_id)
    while limit is None or tally.asked < limit:
        with home.ledger.read() as conn:
            rows = [Row(*row) for row in conn.execute(query.where(c.message_id > last))]
            if not rows:
                break
            last = rows[-1].message_id
            found = vault.addresses(conn, [(row.customer, row.channel) for row in rows if row.channel in addressed])
            cases = [checks.Case(row, checks.read(row), max(now, row.send_at), found.get((row.customer, row.channel))) for row in rows]
            verdicts = checks.judge(conn, cases, rules=shop_rules, addressed=addressed, planned=planned)
        for case in cases:
            verdict = verdicts[case.row.message_id]
            if verdict is not checks.GO:
                tally.add("deferred" if verdict.state in ("ready", "planned") else verdict.state, verdict.reason)
            elif limit is None or tally.asked < limit:
                assert case.message is not None
                tally.add("accepted", None, sink.send(case.message, address=None, at=case.message.send_at))
    return tally
