"""Campaigns of a shop: plan a file, approve it, apply it, watch it, pause and finish it. What :attr:`Shop.campaigns` gives.

``plan`` shows and commits nothing; ``apply`` does what was shown and approved, or refuses. What a campaign decides goes through
the decision engine of the shop; see ``campaign_plan``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, select, update

from tradewind.collect.money import minor_units
from tradewind.decide import campaign_books as books
from tradewind.decide import campaign_guard, campaign_tick
from tradewind.decide.campaign_file import Campaign, Fault, faults, read_campaign, spec_hash
from tradewind.decide.campaign_plan import WORDS, Ask, Trial, asked, left_out, stale, trial
from tradewind.decide.commit import commit
from tradewind.decide.expression import Cells
from tradewind.decide.segment_live import LiveSegments, Why, values
from tradewind.decide.triggers_run import observe, run
from tradewind.engine.ledger import budgets
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn.profiles import PROFILE
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home


@dataclass(frozen=True)
class Shown:
    """What ``plan`` shows: the version, what would happen, and how it differs from what runs. Prints as English."""

    campaign: str
    version: int
    summary: Mapping[str, Any]
    diff: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    def __str__(self) -> str:
        s = self.summary
        lines = [
            f"Campaign {self.campaign}, version {self.version}: planned as of {s['as_of']}, nothing is committed.",
            f"  audience: {s['audience']:,} of {s['customers']:,} customers",
        ]
        if s["firings"] is not None:
            lines.append(f"  the trigger would have fired {s['firings']:,} times in the last 28 days; below: as if decided at once")
        for name, number in s["channels"].items():
            lines.append(f"  {number:,} messages by {name}")
        lines.append(
            f"  expected cost {_money(s['expected_cost'], s['currency'])} of {_money(s['budget'], s['currency'])}, "
            f"if everybody redeems {_money(s['worst_cost'], s['currency'])}; "
            f"expected incremental profit {_money(s['expected_profit'], s['currency'])}"
        )
        lines += [f"  left out: {number:,} x {WORDS.get(code, code)}" for code, number in s["left_out"].items()]
        lines += [f"  changed: {key}: {before!r} -> {after!r}" for key, (before, after) in self.diff["file"].items()]
        if (old := self.diff["version"]) is not None:
            lines.append(
                f"  against version {old}, which is applied: {self.diff['enter']:,} enter the audience, {self.diff['leave']:,} leave"
            )
        lines.append(f"Next: tradewind campaign approve {self.campaign} --by NAME, then tradewind campaign apply FILE --by NAME.")
        return "\n".join(lines)


class Campaigns:
    """The campaigns of one shop. ``by`` is the name of the person who acts; every move is in the audit log under it."""

    def __init__(self, home: Home, *, now: Callable[[], datetime], ask: Ask) -> None:
        self._home, self._now, self._ask = home, now, ask

    # -- before it runs -----------------------------------------------------------------------------------------------

    def faults(self, source: str | Mapping[str, Any]) -> list[Fault]:
        """Everything that is wrong with the text of a file, or with a mapping, and where; writes nothing."""
        return faults(source, currency=self._currency(), columns=PROFILE.append(pa.field("answer_rate", pa.float64())))

    def draft(self, source: str | Path | Mapping[str, Any], *, by: str) -> books.Version:
        """Keep a campaign without planning it; the same again changes nothing. Raises InputError where it is wrong."""
        campaign = self._read(source)
        with self._home.ledger.write() as conn:
            return books.draft(conn, campaign, by=_person(by), now=self._now())

    def plan(self, source: str | Path | Mapping[str, Any], *, by: str = "unnamed", as_of: datetime | str | None = None) -> Shown:
        """Show what a campaign's file would do now, and keep the version as planned; an earlier approval of it is lost.

        ``as_of`` pins the moment: events after it do not make the plan stale.

        Raises
        ------
        InputError, StateError
            The file is wrong, or nothing was learned yet.
        """
        now, campaign = self._now(), self._read(source)
        found = trial(self._home, campaign, self._ask, as_of=as_of, now=now)
        summary = _summary(found)
        pinned = None if as_of is None else utc(as_of, what="as_of").isoformat()
        with self._home.ledger.write() as conn:
            one = books.draft(conn, campaign, by=_person(by), now=now)
            if one.state in books.OPEN:
                raise StateError(
                    f"Campaign {one.campaign} is {one.state} with this very file (version {one.version}). "
                    "Change the file to plan a new version."
                )
            shown = {"hashes": dict(found.hashes), "as_of": pinned, "summary": summary}
            books.move(conn, one, "planned", by=_person(by), now=now, shown=shown)
            running = books.current(conn, campaign.name)
        return Shown(campaign.name, one.version, summary, self._diff(found, campaign, running))

    def approve(self, name: str, *, by: str) -> books.Version:
        """Approve what the newest version's plan showed."""
        return self._move(name, "approved", by=by)

    def apply(self, source: str | Path | Mapping[str, Any], *, by: str) -> books.Version:
        """Do what was shown and approved: commit the plan, or start the trigger. The version that ran before is done.

        Raises
        ------
        StateError
            The file or the data are not those that were shown, it was not approved, or its window is not open.
        """
        now, campaign = self._now(), self._read(source)
        with self._home.ledger.read() as conn:
            one = self._approved(conn, campaign)
        if not campaign.begins <= now < campaign.ends:
            word = "begins" if now < campaign.begins else "ended"
            at = campaign.begins if now < campaign.begins else campaign.ends
            raise StateError(
                f"Campaign {campaign.name} {word} at {at:%Y-%m-%d %H:%M} UTC; it is {now:%Y-%m-%d %H:%M} UTC. Change its window."
            )
        assert one.shown is not None
        if campaign.watch is not None:
            with self._home.ledger.write() as conn:
                self._start(conn, one, campaign, by=by, now=now)
        else:
            found = trial(self._home, campaign, self._ask, as_of=one.shown["as_of"], now=now)
            if odd := stale(one.shown["hashes"], found.hashes):
                raise StateError(
                    f"The plan of campaign {campaign.name} is stale: {', '.join(odd)} changed since it was shown. "
                    "Look at it again: tradewind campaign plan FILE (with --as-of, later events do not matter)."
                )
            plan = found.plan
            if plan is None:
                raise StateError(f"Nobody is in the audience of campaign {campaign.name}: {campaign.audience}. Widen it and plan again.")

            def also(conn: Connection) -> None:
                books.link(conn, plan.plan_id, one, now=now)
                self._start(conn, one, campaign, by=by, now=now)

            if not commit(plan, self._home, now, also=also):
                raise StateError(f"Plan {plan.plan_id} was committed before. Look: tradewind campaign show {campaign.name}.")
        campaign_tick.withdraw(self._home, now=now)
        return self.newest(campaign.name)

    # -- while it runs ------------------------------------------------------------------------------------------------

    def pause(self, name: str, *, by: str, why: str = "") -> books.Version:
        """Nothing is decided and nothing is handed off until it is resumed."""
        return self._move(name, "paused", by=by, why=why)

    def resume(self, name: str, *, by: str, why: str = "") -> books.Version:
        """Let a paused campaign run again."""
        return self._move(name, "running", by=by, why=why)

    def finish(self, name: str, *, by: str, why: str = "") -> books.Version:
        """End it for good: messages that no provider can have yet are taken back, and what they held of the budget is free."""
        done = self._move(name, "done", by=by, why=why)
        campaign_tick.withdraw(self._home, now=self._now())
        return done

    def tick(self) -> list[dict[str, Any]]:
        """What a scheduler calls every few minutes: hear triggers, decide for whom they fired, look at limits, end what is over.

        One row of JSON values per campaign that runs; one that cannot go on says so in ``error``, and the others go on.

        Raises
        ------
        Locked
            Another process is loading; nothing was done yet.
        """
        now = self._now()
        with self._home.ledger.read() as conn:
            running = [one for one in books.versions(conn) if one.state == "running"]
        if running:
            self._home.log.compact(now=now)
            observe(self._home, now=now)
        rows = []
        for one in running:
            row = {"campaign": one.campaign, "version": one.version, "fired": 0, "late": 0, "decided": 0, "messages": 0, "state": one.state}
            try:
                rows.append(row | self._tick(one, now=now))
            except (InputError, StateError) as error:
                rows.append(row | {"error": str(error)})
        campaign_tick.withdraw(self._home, now=now)
        return rows

    # -- looking ------------------------------------------------------------------------------------------------------

    def all(self) -> list[books.Version]:
        """Every version of every campaign, newest first."""
        with self._home.ledger.read() as conn:
            return books.versions(conn)

    def show(self, name: str) -> dict[str, Any]:
        """A campaign's newest version, its plans, its firings by state, its budget and its guard-rails; JSON values."""
        with self._home.ledger.read() as conn:
            one = books.newest(conn, name)
            active = books.current(conn, name) or one
            plans = books.plans_of(conn, name)
            fired = books.fired(conn, name)
            money_row = conn.execute(select(budgets).where(budgets.c.budget == f"campaign:{name}")).mappings().one_or_none()
        campaign = self._read(active.spec)
        return one.to_dict() | {
            "active": active.version,
            "plans": plans,
            "firings": fired,
            "budget": None if money_row is None else dict(money_row),
            "guard": [asdict(finding) for finding in campaign_guard.look(self._home, campaign, plans, now=self._now())],
        }

    def newest(self, name: str) -> books.Version:
        """The newest version of a campaign; raises NotFound where there is none."""
        with self._home.ledger.read() as conn:
            return books.newest(conn, name)

    def trigger(self, name: str) -> dict[str, Any]:
        """The ``kind`` of a campaign's trigger (None without one), its ``firings`` by state, and how far it is ``reading`` the log."""
        kind = (self.newest(name).spec.get("trigger") or {}).get("kind")
        with self._home.ledger.read() as conn:
            return {"kind": kind, "firings": books.fired(conn, name), "reading": books.reading(conn, name)}

    def why(self, name: str, customer: str) -> Why:
        """Why a customer is in the audience of a campaign's newest version now, or not: every comparison with the customer's value.

        Raises
        ------
        NotFound
            There is no such campaign or customer.
        """
        now, one = self._now(), self.newest(name)
        campaign = self._read(one.spec)
        profiles = asked(self._home, campaign, self._ask, as_of=None, now=now).profiles
        row = profiles.filter(pc.equal(profiles["customer"], customer))
        if not row.num_rows:
            raise NotFound(f'There is no customer "{customer}". Known are {profiles.num_rows:,}, for example {profiles["customer"][0]}.')
        text = campaign.audience or ""
        return Why(name, customer, bool(campaign.audience_of(row)[0]), text or "everybody", values(text, row.schema, Cells(row)))

    def segments(self, expressions: Mapping[str, str] | None = None) -> LiveSegments:
        """Live segments over the shop as it is now: these, or the audiences of the campaigns that run (docs/campaigns.md).

        Raises
        ------
        InputError
            An expression names a column that no single event can change.
        """
        if expressions is None:
            running = [self._read(one.spec) for one in self.all() if one.state == "running"]
            expressions = {one.name: one.audience for one in running if one.audience is not None}
        return LiveSegments.of(self._home, expressions, now=self._now())

    def history(self, name: str) -> list[dict[str, Any]]:
        """Who moved it when, oldest first; JSON values."""
        with self._home.ledger.read() as conn:
            found = books.history(conn, name)
        return [{"at": one.at.isoformat(), "by": one.actor, "action": one.action, **one.detail} for one in found]

    # -- parts --------------------------------------------------------------------------------------------------------

    def _read(self, source: str | Path | Mapping[str, Any]) -> Campaign:
        return read_campaign(source, currency=self._currency())

    def _currency(self) -> str:
        currency = self._home.settings.currency
        if currency is None:
            raise StateError("The shop has no currency yet. Collect its data first, or write currency into tradewind.toml.")
        return currency

    def _move(self, name: str, state: str, *, by: str, why: str = "") -> books.Version:
        note = {"why": why} if why else {}
        with self._home.ledger.write() as conn:
            one = books.newest(conn, name) if state == "approved" else books.current(conn, name) or books.newest(conn, name)
            if state == "running" and one.state != "paused":
                raise StateError(
                    f"Campaign {name} is {one.state}; only a paused one is resumed. A new one is started by: campaign apply FILE."
                )
            books.move(conn, one, state, by=_person(by), now=self._now(), note=note)
        with self._home.ledger.read() as conn:
            return next(found for found in books.versions(conn, name) if found.version == one.version)

    def _approved(self, conn: Connection, campaign: Campaign) -> books.Version:
        one = books.newest(conn, campaign.name)
        if spec_hash(one.spec) != campaign.hash:
            raise StateError(
                f"The file of campaign {campaign.name} changed since version {one.version} was planned. "
                "Look at it again: tradewind campaign plan FILE."
            )
        if one.state != "approved":
            then = {"planned": f"Approve it: tradewind campaign approve {one.campaign} --by NAME.", "draft": "Plan it first."}
            raise StateError(
                f"Campaign {one.campaign} (version {one.version}) is {one.state}, not approved. "
                + then.get(one.state, "Change the file and plan it.")
            )
        return one

    def _start(self, conn: Connection, one: books.Version, campaign: Campaign, *, by: str, now: datetime) -> None:
        """In the caller's transaction: the budget is that of this version, the version before is done, this one runs."""
        b, amount = budgets.c, campaign.amount
        mine = (b.budget == campaign.budget_id, b.reserved + b.spent <= amount)
        known = conn.execute(select(b.reserved, b.spent).where(b.budget == campaign.budget_id)).one_or_none()
        if known is not None and conn.execute(update(budgets).where(*mine).values(amount=amount)).rowcount != 1:
            raise StateError(
                f"Campaign {campaign.name} holds or spent {known.reserved + known.spent} minor units already; its new budget is {amount}."
            )
        if (before := books.current(conn, campaign.name)) is not None:
            books.move(conn, before, "done", by=_person(by), now=now, note={"why": f"replaced by version {one.version}"})
        books.move(conn, one, "running", by=_person(by), now=now)

    def _tick(self, one: books.Version, *, now: datetime) -> dict[str, Any]:
        campaign = self._read(one.spec)
        if now >= campaign.ends:
            return self._stop(one, "done", f"its window ended at {campaign.ends.isoformat()}", now=now)
        with self._home.ledger.read() as conn:
            plans = books.plans_of(conn, one.campaign)
        broken = [str(found) for found in campaign_guard.look(self._home, campaign, plans, now=now) if found.exceeded]
        if broken:
            return self._stop(one, "paused", "; ".join(broken), now=now)
        if campaign.watch is None:
            return {}
        heard = run(self._home, campaign.watch, campaign=one.campaign, since=one.updated_at, now=now)
        made = campaign_tick.decide_firings(self._home, one, campaign, self._ask, now=now)
        return {
            "fired": heard.firings,
            "late": heard.late,
            "unread": dict(heard.unread),
            "decided": made.decided,
            "dropped": dict(made.dropped),
            "messages": 0 if made.plan is None else made.plan.summary()["treated"],
        }

    def _stop(self, one: books.Version, state: str, why: str, *, now: datetime) -> dict[str, Any]:
        with self._home.ledger.write() as conn:
            books.move(conn, one, state, by=campaign_tick.ACTED, now=now, note={"why": why})
        return {"state": state, "why": why}

    def _diff(self, found: Trial, campaign: Campaign, running: books.Version | None) -> dict[str, Any]:
        """What changes in the file and in the audience against the version that is applied."""
        before: Mapping[str, Any] = {} if running is None else running.spec
        keys = sorted(key for key in {*before, *campaign.told} if before.get(key) != campaign.told.get(key))
        file = {} if running is None else {key: (before.get(key), campaign.told.get(key)) for key in keys}
        if running is None:
            return {"version": None, "file": file, "enter": len(found.members), "leave": 0}
        inside = [pa.array(one.audience_of(found.request.profiles)) for one in (self._read(running.spec), campaign)]
        enter, leave = pc.and_not(inside[1], inside[0]), pc.and_not(inside[0], inside[1])
        return {"version": running.version, "file": file, "enter": pc.sum(enter).as_py() or 0, "leave": pc.sum(leave).as_py() or 0}


def _summary(found: Trial) -> dict[str, Any]:
    told: dict[str, Any] = {"audience": len(found.members), "customers": found.customers, "firings": found.firings}
    told |= {"as_of": found.request.as_of.isoformat(), "budget": found.request.budget, "currency": found.request.currency}
    if found.plan is None:
        return (
            told
            | dict.fromkeys(("treated", "holdout", "reserved", "expected_cost", "worst_cost", "expected_profit"), 0)
            | {key: {} for key in ("channels", "offers", "left_out")}
        )
    plan, made = found.plan, found.plan.summary()
    told |= {name: made[name] for name in ("channels", "offers", "treated", "holdout", "expected_cost", "reserved")}
    return told | {"worst_cost": plan.meta["worst_cost"], "expected_profit": plan.meta["expected_profit"], "left_out": left_out(plan)}


def _person(by: str) -> str:
    if not isinstance(by, str) or not by.strip() or len(by) > 200:
        raise InputError(f'Say who acts: --by NAME (by="NAME"); got {by!r}.')
    return f"person:{by.strip()}"


def _money(amount: float, currency: str) -> str:
    units = minor_units(currency)
    return f"{amount / units:,.{len(str(units)) - 1}f} {currency}"
