"""An open shop: its home, its clock, and the doors to what lies beside the six verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tradewind import asked
from tradewind.errors import NotFound, StateError
from tradewind.types import Report, utc

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.collect.backup import Restored
    from tradewind.collect.consent_desk import Desk
    from tradewind.collect.health import Data
    from tradewind.compose._chat_batch import Loaded
    from tradewind.compose.desk import Words
    from tradewind.compose.spoken_goal import Compiled
    from tradewind.decide.budgets import Budgets
    from tradewind.decide.campaign import Campaigns
    from tradewind.decide.people import People
    from tradewind.decide.plan import Plan
    from tradewind.decide.plans import Plans
    from tradewind.decide.versions import Policies
    from tradewind.decide.what_if import WhatIf
    from tradewind.deliver.channels._door import Channels
    from tradewind.deliver.queue import Queue
    from tradewind.engine.home import Home
    from tradewind.learn.demand_desk import DemandDesk
    from tradewind.learn.forget import Privacy
    from tradewind.learn.models_desk import Models
    from tradewind.learn.product_desk import ProductDesk
    from tradewind.learn.risk_desk import RiskDesk
    from tradewind.measure.evidence import Evidence
    from tradewind.measure.experiments import Experiments


class Doors:
    """What every shop has: a home that is opened and closed, a clock, and small objects for its special tasks.

    A door is a property that returns an object of one room; the object does the work, the door only knows where it is.
    """

    def __init__(self, home: Home, *, now: Callable[[], datetime] | None = None) -> None:
        self._home: Home | None = home
        self.now = now or (lambda: datetime.now(UTC))

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True, now: Callable[[], datetime] | None = None) -> Self:
        """Open the shop at ``url``: a folder, ``postgresql://...?root=FOLDER`` or ``spark:///FOLDER``.

        Raises
        ------
        InputError, NotFound, StateError
            The address is wrong, there is no shop and ``create`` is false, or its ledger cannot be used.
        """
        from tradewind.engine.home import Home

        return cls(Home.open(url, create=create), now=now)

    @classmethod
    def restore(cls, backup: str | Path, url: str | Path, *, keys: str | Path, now: datetime | None = None) -> Restored:
        """Make a new shop at ``url`` of a backup; ``keys`` is the folder that was kept apart, as it is today (docs/vault.md)."""
        from tradewind.collect.backup import restore
        from tradewind.learn.forget_models import forget

        return restore(Path(backup), url, keys=Path(keys), now=now or datetime.now(UTC), also=forget)

    @property
    def home(self) -> Home:
        """The shop's folder, ledger and tables; raises StateError once the shop is closed."""
        if self._home is None:
            raise StateError("This shop is closed. Open it again with Shop.open, and work inside the with block.")
        return self._home

    def close(self) -> None:
        """Let go of files and connections; safe to call twice."""
        if self._home is not None:
            self._home.close()
            self._home = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Shop(closed)" if self._home is None else f"Shop({str(self._home.root)!r})"

    # -- collect ------------------------------------------------------------------------------------------------------

    @property
    def consents(self) -> Desk:
        """Who may be contacted where and why: grant, withdraw, double opt-in, history (docs/consent.md)."""
        from tradewind.collect.consent_desk import Desk
        from tradewind.decide.law import fault

        return Desk(self.home, now=self.now, fault=fault)

    @property
    def data(self) -> Data:
        """What loads did, what waits in quarantine, what lies in files."""
        from tradewind.collect.health import Data

        return Data(self.home)

    # -- learn --------------------------------------------------------------------------------------------------------

    def customers(self, *, tags: bool = False, as_of: datetime | str | None = None) -> pa.Table:
        """One row per customer: profile, segment, expected value, churn; or ``tags`` with confidence and expiry (docs/value.md)."""
        from tradewind.learn import customers

        cut = asked.cut(self.home, as_of, now=self.now())
        return customers.tags(self.home, as_of=cut) if tags else customers.customers(self.home, as_of=cut)

    @property
    def people(self) -> People:
        """Single customers for whoever looks one up: found by id, with tags, and what happened in order of time. Writes nothing."""
        from tradewind.decide.people import People

        return People(self.home, as_of=lambda: asked.span(self.home)[1] + timedelta(microseconds=1))

    def reviews(self, *, items: Sequence[str] | None = None, as_of: datetime | str | None = None) -> Report:
        """What reviews praise and blame, with intervals and evidence; of all items, or of some (docs/reviews.md)."""
        from tradewind.learn import reviews

        cut, some = asked.cut(self.home, as_of, now=self.now()), asked.several(items)
        found = reviews.loaded(self.home, as_of=cut)
        strange = sorted(set(some or ()) - {review.item for review in found.reviews})
        if strange:
            raise NotFound(f'There is no review of "{strange[0]}" before {cut:%Y-%m-%d}. Look for the id of the item in the catalogue.')
        sections, simulated = reviews.report(found, some), self.home.settings.simulated
        return Report(f"What {len(found.reviews):,} reviews say", cut, sections, simulated=simulated)

    @property
    def models(self) -> Models:
        """The stored models: versions with their cards, which one is in use, and going back."""
        from tradewind.learn.models_desk import Models

        return Models(self.home, now=self.now)

    @property
    def products(self) -> ProductDesk:
        """What texts and pictures say of products, what was entered twice, and what people confirm of it (docs/products.md)."""
        from tradewind.learn.product_desk import ProductDesk

        return ProductDesk(self.home, now=self.now)

    @property
    def demand(self) -> DemandDesk:
        """Demand of every item ahead, and what to order: learn, forecast, totals, order (docs/demand.md)."""
        from tradewind.learn.demand_desk import DemandDesk

        return DemandDesk(self.home, now=self.now, cut=lambda at: asked.cut(self.home, at, now=self.now()))

    @property
    def risk(self) -> RiskDesk:
        """Orders and claims that look wrong: rules, verdicts, backtests, whom we trust, reviews (docs/risk.md)."""
        from tradewind.learn.risk_desk import RiskDesk

        return RiskDesk(self.home, now=self.now, cut=lambda at: asked.cut(self.home, at, now=self.now()))

    # -- decide -------------------------------------------------------------------------------------------------------

    @property
    def plans(self) -> Plans:
        """Which plans were committed, newest first, and what became of their messages."""
        from tradewind.decide.plans import Plans

        return Plans(self.home)

    @property
    def budgets(self) -> Budgets:
        """Where the money of budgets is: held, spent, left, by day."""
        from tradewind.decide.budgets import Budgets

        return Budgets(self.home)

    @property
    def policies(self) -> Policies:
        """The versions of the policy that made plans: list and roll back."""
        from tradewind.decide.versions import Policies

        return Policies(self.home, now=self.now)

    def what_if(self, plan: Plan, customer: str, changes: Sequence[str]) -> WhatIf:
        """What a customer would have got with ``changes`` such as ``["messages_30d=2"]`` or ``["without=email", "price=1.5"]``."""
        from tradewind.requested import what_if

        return what_if(self.home, asked.is_plan(plan), customer, asked.several(changes) or [], now=self.now())

    @property
    def campaigns(self) -> Campaigns:
        """Campaigns from files: plan, approve, apply, watch, pause, finish (docs/campaigns.md)."""
        from tradewind.decide.campaign import Campaigns
        from tradewind.requested import request

        return Campaigns(self.home, now=self.now, ask=request)

    @property
    def privacy(self) -> Privacy:
        """What is owed to people: export, erase, prove it; the master key, backups (docs/vault.md)."""
        from tradewind.learn.forget import Privacy

        return Privacy(self.home, now=self.now)

    # -- compose ------------------------------------------------------------------------------------------------------

    @property
    def words(self) -> Words:
        """The shop's words: add, approve, retire, ask for and export them (docs/copy_learning.md)."""
        from tradewind.compose.desk import Words

        return Words(self.home, now=self.now)

    def read_brief(self, text: str) -> Compiled:
        """A campaign from a marketer's words, by the configured language model: a draft, never an act (docs/campaigns.md)."""
        from tradewind.compose.spoken_goal import compile_goal, known_of

        return compile_goal(self.home, text, known=known_of(self.home), faults=self.campaigns.faults, now=self.now())

    def copy_report(self, *, as_of: datetime | str | None = None) -> Report:
        """Winners and losers among words, with intervals, and what choosing earned against the fixed template (docs/copy_learning.md)."""
        from tradewind.compose.choosing import report_of

        return report_of(self.home, as_of=asked.cut(self.home, as_of, now=self.now()))

    def write_batch(self, plan: Plan, path: str | Path, *, locale: str | None = None, at: datetime | str | None = None) -> int:
        """Write the questions that ``writer="chat"`` would ask for a plan as a batch file; return how many (docs/writers.md)."""
        from tradewind.compose._chat_batch import Collector, export
        from tradewind.compose.compose import compose

        moment, url = self.now() if at is None else utc(at, what="at"), self.home.settings.url
        collector = Collector.open(self.home, now=moment)
        compose(self.home, asked.is_plan(plan), locale=locale, now=moment, shop_url=url, writer=collector, dry_run=True)
        return export(collector, Path(path))

    def load_batch(self, path: str | Path) -> Loaded:
        """Read a provider's answers to such a file; ``compose(..., writer="chat")`` then draws from them."""
        from tradewind.compose._chat_batch import load

        return load(self.home, Path(path), now=self.now())

    # -- deliver ------------------------------------------------------------------------------------------------------

    @property
    def outbox(self) -> Queue:
        """The queue of messages, for an operator: list, show, replay, resolve, stop and resume (docs/deliver.md)."""
        from tradewind.deliver.queue import Queue

        return Queue(self.home, now=self.now)

    @property
    def channels(self) -> Channels:
        """What goes through channels besides messages: slots, audiences, scripts, and what comes back (docs/channels.md)."""
        from tradewind.deliver.channels._door import Channels

        return Channels(self.home, now=self.now)

    # -- measure ------------------------------------------------------------------------------------------------------

    @property
    def experiments(self) -> Experiments:
        """Arms by hash, power before a start, experiments in files, and what lasts after a window (docs/measure.md)."""
        from tradewind.measure.experiments import Experiments

        return Experiments(self.home, now=self.now)

    @property
    def evidence(self) -> Evidence:
        """Other policies on a plan's log, attribution, fairness, quality: the reports beside :meth:`Shop.measure`."""
        from tradewind.measure.evidence import Evidence
        from tradewind.requested import retaken

        return Evidence(self.home, now=self.now, replay=lambda version, plan: retaken(self.home, version, plan, now=self.now()))
