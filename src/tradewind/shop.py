"""The shop: one object whose six verbs are the loop. The only module that knows all six rooms."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind import asked
from tradewind.doors import Doors
from tradewind.errors import InputError, unknown
from tradewind.types import Report, Section, utc

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.collect.report import CollectReport
    from tradewind.compose.compose import Composed
    from tradewind.decide.curve import Curve
    from tradewind.decide.door import Door
    from tradewind.decide.plan import Plan
    from tradewind.decide.value import ValueModel
    from tradewind.deliver.channels.base import Channel
    from tradewind.deliver.deliver import Delivered
    from tradewind.learn.base import Recommender
    from tradewind.learn.sequences import Sequences

Progress = Callable[[float, str], None]

TEST_DAYS = 28  # of the global time split when models are compared


def _quiet(_share: float, _what: str) -> None:
    return


class Shop(Doors):
    """A shop's data, models, plans and messages at one address. Use it in a ``with`` block, or call :meth:`close`.

    ``now`` is the shop's clock, replaceable for replays and tests; every method also takes its time explicitly.
    """

    # -- collect ------------------------------------------------------------------------------------------------------

    def collect(self, source: str | Path | pa.Table, *, mapping: Any = None, progress: Progress | None = None) -> CollectReport:
        """Take files, a folder, a database URL, or an Arrow table of the schema; idempotent.

        ``mapping`` (a TOML file or a ``MappingFile``) says how columns become Tradewind's; ``tradewind map`` drafts one.
        Unsubscribes and complaints among the events withdraw consent at once; matured outcomes settle what was reserved.
        """
        import pyarrow as pa

        from tradewind.collect.withdrawals import withdraw_from_log
        from tradewind.decide.commit import settle_matured
        from tradewind.decide.withdraw import withdraw_done

        if isinstance(source, pa.Table):
            from tradewind.collect.memory import collect_table

            report = collect_table(self.home, source, now=self.now())
            if report.counts[0].table == "outcomes":
                settle_matured(self.home, source)
        elif not isinstance(source, str | Path):
            raise InputError(f"collect takes a path, a database URL or a pyarrow.Table; got {type(source).__name__}.")
        else:
            from tradewind.collect.ingest import collect

            report = collect(self.home, source, mapping=mapping, now=self.now(), progress=progress)
        if any(count.table == "events" for count in report.counts):  # also after a load that is done: it may have been killed here
            withdraw_from_log(self.home)
            withdraw_done(self.home, now=self.now())
        if any(count.table in ("events", "customers", "consents", "audiences") for count in report.counts):
            self.privacy.again()  # who was erased does not come back with an old file
        if any(count.table == "items" for count in report.counts):
            from tradewind.compose.pricelog import note

            note(self.home, now=self.now())
        return report

    # -- learn --------------------------------------------------------------------------------------------------------

    def learn(
        self,
        *,
        recommend: str = "fallback",
        size: str | None = None,
        as_of: datetime | str | None = None,
        evaluate: bool = False,
        epochs: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Report:
        """Fit the recommender, the value model and the copy policy; ``evaluate`` compares all recommenders on a global time split first.

        ``as_of`` defaults to just after the last event; ``size`` and ``epochs`` are for deep models. The value model learns
        from all plans whose outcomes were collected; without any it stays at its prior. Killed and run again, the same
        models come out.
        """
        from tradewind import plugins
        from tradewind.learn.answers import Answers
        from tradewind.learn.registry import publish, retire
        from tradewind.learn.risk_clicks import of_people
        from tradewind.learn.sequences import sequences

        step = progress or _quiet
        cut = asked.cut(self.home, as_of, now=self.now())
        model = self._recommender(recommend, size=size, epochs=epochs, seed=seed, known=plugins.names("learn"))
        step(0.05, "reading histories")
        tables, sections = of_people(self.home, as_of=cut)
        log = sequences(tables, as_of=cut)
        sections += [self._evaluated(log, cut, size=size, epochs=epochs, seed=seed, progress=step)] if evaluate else []
        step(0.4, f"fitting {recommend}")
        model.fit(log, as_of=cut)
        card = {"recommend": recommend, "params": model.params(), "customers": len(log), "items": len(model.items), "events": len(log.at)}
        version = publish(self.home, "recommend", model.save, as_of=cut, card=card, now=self.now())
        step(0.85, "learning who answers messages")
        answers = Answers.learn(tables, as_of=cut)
        if answers is None:
            retire(self.home, "answers")  # an older one may know what comes after the cut
        else:
            publish(self.home, "answers", answers.save, as_of=cut, card={"contacted": answers.contacted}, now=self.now())
        step(0.9, "fitting the value of offers")
        value = self._fit_value(cut)
        step(0.95, "learning which words are clicked")
        from tradewind.compose import choosing
        from tradewind.learn import customers, reviews
        from tradewind.learn.report import learned

        sections.append(choosing.learn(self.home, as_of=cut, now=self.now(), seed=seed))
        step(0.97, "learning what customers will spend")
        sections.append(customers.learn(self.home, as_of=cut, now=self.now(), seed=seed))
        step(0.99, "reading reviews")
        sections.append(reviews.learn(self.home, as_of=cut, now=self.now(), seed=seed))

        contacted = answers.contacted if answers else 0
        simulated = self.home.settings.simulated
        return learned(log, version, value_rows=value.rows, contacted=contacted, as_of=cut, more=sections, simulated=simulated)

    def _recommender(self, name: str, *, size: str | None, epochs: int | None, seed: int, known: Mapping[str, str]) -> Recommender:
        import inspect

        from tradewind import plugins
        from tradewind.learn.base import Recommender

        if name not in known:
            raise unknown("recommender", str(name), known)
        kind = plugins.load("learn", name, what="recommender")
        assert issubclass(kind, Recommender)
        takes = inspect.signature(kind).parameters
        given: dict[str, Any] = {"size": size, "epochs": epochs, "seed": seed}
        if size is not None and "size" not in takes:
            raise InputError(f'Recommender "{name}" has no size. Leave it out, or choose "transformer" or "fallback".')
        model: Recommender = kind(**{key: value for key, value in given.items() if key in takes and value is not None})
        return model

    def _evaluated(self, log: Sequences, cut: datetime, *, size: str | None, epochs: int | None, seed: int, progress: Progress) -> Section:
        from tradewind.learn.report import compared

        return compared(
            log,
            cut - timedelta(days=TEST_DAYS),
            size=size,
            epochs=epochs,
            seed=seed,
            progress=lambda share, what: progress(0.05 + 0.35 * share, what),
        )

    def _fit_value(self, cut: datetime) -> ValueModel:
        import pyarrow.compute as pc

        from tradewind.decide.plan import Plan
        from tradewind.decide.value import ValueModel
        from tradewind.learn.registry import publish, retire

        outcomes = self.home.tables.to_arrow(self.home.tables.get("outcomes"))
        outcomes = outcomes.filter(pc.less_equal(outcomes["at"], cut))  # a window that ends at the cut has been seen
        model = ValueModel()
        logs = []
        for plan_id in pc.unique(outcomes["plan_id"]).to_pylist():
            mine = outcomes.filter(pc.equal(outcomes["plan_id"], plan_id))
            if pc.any(mine["matured"]).as_py():
                logs.append((Plan.load(self.home, plan_id), mine))
        if not logs:
            retire(self.home, "value")
        else:
            model = model.fit(logs)
            last = max(utc(pc.max(mine["at"]).as_py()) for _, mine in logs)
            publish(self.home, "value", model.save, as_of=last, card={"plans": len(logs), "rows": model.rows}, now=self.now())
        return model

    # -- decide -------------------------------------------------------------------------------------------------------

    def decide(
        self,
        *,
        offers: Sequence[str] | None = None,
        channels: Sequence[str] | Mapping[str, int] | None = None,
        budget: str = "0",
        holdout: float = 0.1,
        window_days: int = 14,
        as_of: datetime | str | None = None,
        seed: int = 0,
        limits: str | Path | Mapping[str, Any] | None = None,
        policy: str | None = None,
        key: str | None = None,
        progress: Progress | None = None,
    ) -> Plan:
        """Choose for every customer an offer, an item and a channel, or nothing, and commit the plan.

        ``offers`` names kinds or ids (all when None); ``channels`` names channels, or maps them to the cost of one
        contact in minor units; ``budget`` is money for discounts and contacts, such as ``"2000 CNY"``; ``holdout`` is the
        share of customers who get nothing, to measure against. ``limits``: a TOML file or mapping (``decide/limits.py``).
        ``policy`` decides with a stored version (:attr:`policies`): its models and all that was asked then. ``key``: where a plan
        was committed under it, that plan is the answer, so that asking twice decides once.

        Raises
        ------
        StateError
            Nothing was learned yet, there is no event at all, or the policy was made by other code.
        """
        from tradewind.requested import decided

        self.privacy.check()
        return decided(
            self.home, policy, offers=offers, channels=channels, budget=budget, holdout=holdout, window_days=window_days,
            seed=seed, limits=limits, as_of=as_of, now=self.now, key=key, progress=progress or _quiet,
        )  # fmt: skip

    def live(self, plan: Plan | None = None, *, visits: int | None = None) -> Door:
        """Decisions for one customer at a time, of the newest plan or another; ``visits`` expected ones pace the budget."""
        from tradewind.requested import door

        self.privacy.check()
        return door(self.home, plan or self.plan(), visits=visits, now=self.now())

    def curve(
        self,
        budgets: Sequence[str],
        *,
        offers: Sequence[str] | None = None,
        channels: Sequence[str] | Mapping[str, int] | None = None,
        holdout: float = 0.1,
        window_days: int = 14,
        as_of: datetime | str | None = None,
        seed: int = 0,
    ) -> Curve:
        """What a plan would cost and earn at other ``budgets``, such as ``["500 CNY", "2000 CNY"]``; nothing is committed."""
        from tradewind.requested import curved

        return curved(
            self.home, asked.several(budgets) or [], offers=offers, channels=channels, budget="0", holdout=holdout,
            window_days=window_days, as_of=as_of, seed=seed, now=self.now(), progress=_quiet,
        )  # fmt: skip

    # -- plans --------------------------------------------------------------------------------------------------------

    def plan(self, plan_id: str | None = None) -> Plan:
        """A committed plan by its id (or the beginning of it), or the newest.

        Raises
        ------
        StateError, NotFound
            There is no plan yet, or none of that id.
        """
        from sqlalchemy import select

        from tradewind.decide.plan import Plan
        from tradewind.engine.ledger import plans

        newest = select(plans.c.plan_id).order_by(plans.c.created_at.desc(), plans.c.as_of.desc(), plans.c.plan_id)
        with self.home.ledger.read() as connection:
            known = connection.execute(newest).scalars().all()
        return Plan.load(self.home, asked.one_plan(known, plan_id, home=self.home))

    # -- compose, deliver, measure ------------------------------------------------------------------------------------

    def compose(
        self, plan: Plan, *, locale: str | None = None, at: datetime | str | None = None, seed: int = 0, writer: str = "components"
    ) -> Composed:
        """Write and check the messages of a plan; ``locale`` forces one language, else each customer's own is used.

        ``writer``: ``"components"``, ``"chat"``, ``"local"`` or ``"transformer"`` (docs/writers.md); what it cannot write, components do.

        ``at`` is the moment whose facts count (now by default): give the plan's ``as_of`` to replay the past.
        """
        from tradewind.compose.compose import compose

        moment = self.now() if at is None else utc(at, what="at")
        url = self.home.settings.url
        return compose(self.home, asked.is_plan(plan), locale=locale, now=moment, seed=seed, shop_url=url, writer=writer)

    def deliver(
        self,
        plan: Plan,
        *,
        dry_run: bool = True,
        to: str | Channel | Mapping[str, Channel] = "file",
        progress: Progress | None = None,
    ) -> Delivered:
        """Hand off what is ready and due. Sends only with ``dry_run=False``; ``to`` names or is the sender.

        ``"file"`` writes JSON lines into the shop's ``outbox`` folder, ``"console"`` prints, ``"smtp"`` is set up from the
        environment (``docs/deliver.md``). Nothing is sent of a plan that breaks ``fairness.toml``.
        """
        from tradewind.decide.fairness import gate
        from tradewind.decide.withdraw import withdraw_done
        from tradewind.deliver.channels.base import Channel
        from tradewind.deliver.channels.outbox import Outbox
        from tradewind.deliver.deliver import channel, deliver

        if dry_run:
            return deliver(self.home, asked.is_plan(plan).plan_id, channels=Outbox(), now=self.now, dry_run=True, progress=progress)
        gate(self.home, asked.is_plan(plan))  # the rules may be newer than the plan
        withdraw_done(self.home, now=self.now())  # what came through the inbox counts, too
        if not isinstance(to, str | Channel | Mapping):
            raise InputError(f"deliver: to must be the name of a sender, a Channel, or a mapping of channels to them; got {to!r}.")
        if not isinstance(to, str):
            return deliver(self.home, asked.is_plan(plan).plan_id, channels=to, now=self.now, progress=progress)
        with channel(self.home, to, environment=os.environ) as made:
            senders = {"email": made} if to == "smtp" else made  # SMTP carries e-mail only; the rest waits for its own sender
            return deliver(self.home, asked.is_plan(plan).plan_id, channels=senders, now=self.now, progress=progress)

    def measure(
        self, plan: Plan, *, as_of: datetime | str | None = None, truth: float | None = None, more: Sequence[Section] = ()
    ) -> Report:
        """What a plan earned against its holdout; ``as_of`` defaults to the end of its window, or now when that is earlier."""
        from tradewind.measure.measure import measure

        start = utc(asked.is_plan(plan).meta["as_of"])
        if as_of is None:
            cut = min(start + timedelta(days=float(plan.meta["window_days"])), self.now())
        elif (cut := asked.past(as_of, now=self.now())) <= start:
            raise InputError(f"as_of: the plan is of {start:%Y-%m-%d %H:%M} UTC; nothing can follow earlier. Give a later time, or none.")
        return measure(self.home, plan, as_of=cut, truth=truth, more=more)
