"""The door to a shop's risk control: rules in ``risk.toml``, verdicts, backtests, trust, reviews. ``shop.risk`` (docs/risk.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tradewind.errors import InputError, NotFound, StateError, unknown
from tradewind.learn import _risk_rule_books as books
from tradewind.learn._risk_rule_backtest import Backtest, backtest
from tradewind.learn._risk_rule_books import Check, Trusted
from tradewind.learn._risk_rule_history import FIELDS, SCORE, History, history, scored
from tradewind.learn.risk_rules import FILE, Rule, checked, fired, load, strictest
from tradewind.params import Number
from tradewind.params import check as within
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.learn._risk_learn import Learned
    from tradewind.learn._risk_live import LiveRisk
    from tradewind.learn.risk_clicks import Machines
    from tradewind.learn.risk_rings import Ring

DELAY_DAYS = 30  # until an order of which nothing bad is known counts as good


@dataclass(frozen=True)
class Standing:
    """A rule as it stands: whether it acts, why not, and its newest backtest (None: this text was not backtested)."""

    rule: Rule
    acting: bool
    why: str
    backtest: Mapping[str, Any] | None


class RiskDesk:
    """Risk control of one shop. ``cut`` turns what a caller says about a moment into a time that has passed."""

    def __init__(self, home: Home, *, now: Callable[[], datetime], cut: Callable[[datetime | str | None], datetime]) -> None:
        self._home, self._now, self._cut = home, now, cut

    # -- rules ------------------------------------------------------------------------------------------------------------

    def rules(self) -> list[Standing]:
        """The rules of ``risk.toml``, in its order. Raises InputError for a file with faults."""
        rules = self._rules()
        with self._home.ledger.read() as conn:
            permits, tested = books.permits(conn), books.tested(conn)
        return [_standing(rule, permits.get(rule.name), tested.get((rule.name, rule.digest))) for rule in rules]

    def backtest(
        self, names: Sequence[str] = (), *, days: float = 90, delay_days: int = DELAY_DAYS, as_of: datetime | str | None = None,
        by: str = "person:operator",
    ) -> list[Backtest]:  # fmt: skip
        """What the rules would have done with the orders and claims of the ``days`` before ``as_of``; of all rules, or some.

        Features are those of each moment. Fraud is what was known at ``as_of``, or is known now (:meth:`label`, :meth:`settle`); what
        was younger than ``delay_days`` then counts as unknown, and a claim is never known to be good: no bank complains about it. Overlap
        and newly stopped people compare with all rules of the file. The result is noted: without it a text cannot be activated. Raises
        InputError for a wrong rule or name, StateError without a model that a rule needs.
        """
        from tradewind.learn.risk import truth

        within("backtest", {"days": days}, {"days": Number(0.01, 3_660)})
        rules, until = self._rules(), self._cut(as_of)
        known = self._now() if as_of is None else until
        chosen = [self._named(name, rules) for name in names] or rules
        if not chosen:
            raise StateError(f"There is no rule yet. Write {self._home.root / FILE} first; docs/risk.md shows how.")
        past = self._scored(history(self._home, until=until, days=days), rules)
        label = truth(past.ids, past.at, self.labels(), as_of=known, delay_days=delay_days)
        label[(label == 0) & (past.columns["action"] != "order")] = np.nan
        acting = {each.rule.name for each in self.rules() if each.acting}
        found = backtest(rules, past.columns, label, past.amount, kinds=FIELDS, customer=past.columns["customer"].tolist(), acting=acting)
        told = [one for rule, one in zip(rules, found, strict=True) if rule in chosen]
        with self._home.ledger.write() as conn:
            books.keep_backtests(conn, [one.figures() for one in told], chosen, as_of=known, by=by, now=self._now())
        return told

    def activate(self, name: str, *, by: str) -> Rule:
        """Let a rule act as it now reads.

        Raises
        ------
        InputError, StateError
            There is no such rule, its file says shadow, or this text of it was not backtested.
        """
        rule = self._named(name, self._rules())
        if rule.mode != "acting":
            raise StateError(f'{FILE} says that "{name}" is a shadow rule. Write mode = "acting" there, then activate it.')
        with self._home.ledger.write() as conn:
            books.permit(conn, rule, by=by, now=self._now())
        return rule

    def shadow(self, name: str, *, by: str) -> bool:
        """Let a rule only watch from now on, whatever its file says; returns whether it acted before."""
        with self._home.ledger.write() as conn:
            if name not in books.permits(conn):
                self._named(name, self._rules())
            return books.forbid(conn, name, by=by, now=self._now())

    # -- verdicts -----------------------------------------------------------------------------------------------------------

    def check(
        self, asked: Mapping[str, Any] | str, *, moment: str | None = None, amount: int | None = None, by: str = books.POLICY
    ) -> Check:
        """Decide about one order or claim, write the verdict down, and queue a review.

        ``asked``: its features by name (``FIELDS``; what is left out is not known), with ``moment`` its id, or the id of an order
        or claim that was collected. The whitelist passes; else the strictest acting rule decides: block, review, allow. ``amount`` in
        minor units. Asking the same at the same time gives the same verdict and writes nothing.

        Raises
        ------
        InputError, NotFound
            A feature is unknown or of another kind, the rules have faults, or nothing is known of the id.
        """
        rules, now = self._rules(), self._now()
        if isinstance(asked, str):
            moment, amount, asked = asked, *self._collected(asked, rules)
        features = checked(asked, FIELDS)
        hits = fired(rules, features)
        with self._home.ledger.write() as conn:
            permits = books.permits(conn)
            held = tuple(rule.name for rule in rules if rule.mode == "acting" and permits.get(rule.name) != rule.digest)
            acting = [rule for rule in hits if rule.mode == "acting" and rule.name not in held]
            trusted = books.passes(conn, features, now=now)
            verdict = "allow" if trusted else strictest(acting)
            told = Check(
                books.identity(moment, features, now=now), now, verdict, moment, _text(features.get("customer")), amount, trusted,
                fired=books.fired(acting, features), shadow=books.fired([rule for rule in hits if rule not in acting], features),
                held=held, state="open" if verdict == "review" else None,
            )  # fmt: skip
            if not books.keep(conn, told, by=by):
                told = replace(books.one(conn, told.check_id) or told, held=held)
        return told

    def live(self) -> LiveRisk:
        """Verdicts in the checkout: features from a state in memory that is made from the log now, and then hears what happens."""
        from tradewind.learn._risk_live import LiveRisk

        return LiveRisk(self._home, self.check, as_of=self._now())

    def checks(self, *, limit: int = 100) -> list[Check]:
        """The newest verdicts, newest first."""
        with self._home.ledger.read() as conn:
            return books.checks(conn, state=None, limit=limit)

    # -- what is learned ----------------------------------------------------------------------------------------------------

    def score(self, *, delay_days: int = DELAY_DAYS, go_on: bool = False, most: int = 20, as_of: datetime | str | None = None) -> Learned:
        """Learn the risk score from all before ``as_of``, publish it, and list the riskiest orders and claims whose truth is not known.

        From the labels (:meth:`labels`) where there are enough, else from what is unusual. ``go_on`` adds to what was learned before.
        Raises InputError where there is too little, StateError where nothing can be gone on from.
        """
        from tradewind.learn._risk_learn import learn

        labels, cut, now = self.labels(), self._cut(as_of), self._now()
        known_by = now if as_of is None else cut
        return learn(self._home, as_of=cut, now=now, labels=labels, known_by=known_by, delay_days=delay_days, go_on=go_on, most=most)

    def rings(self, *, as_of: datetime | str | None = None) -> list[Ring]:
        """Find the rings among all that happened before ``as_of``, publish them for the guard of promotions, and return them."""
        from tradewind.learn.risk_rings import learn

        return learn(self._home, as_of=self._cut(as_of), now=self._now())

    def machines(self, *, as_of: datetime | str | None = None) -> Machines:
        """Find views and clicks that no person made, and publish them: from then on nothing learns from those customers."""
        from tradewind.learn.risk_clicks import learn

        return learn(self._home, as_of=self._cut(as_of), now=self._now())

    # -- whom we trust ------------------------------------------------------------------------------------------------------

    def allow(self, kind: str, subject: str, *, by: str, why: str, days: float = 90) -> Trusted:
        """Let a customer, device or address (by its key in the events) pass every rule for some days."""
        with self._home.ledger.write() as conn:
            return books.trust(conn, kind, subject, by=by, why=why, days=days, now=self._now())

    def disallow(self, kind: str, subject: str, *, by: str) -> None:
        """Take an entry off the whitelist; raises NotFound where there is none."""
        with self._home.ledger.write() as conn:
            books.distrust(conn, kind, subject, by=by, now=self._now())

    def whitelist(self) -> list[Trusted]:
        """The entries that still count."""
        with self._home.ledger.read() as conn:
            return books.whitelist(conn, now=self._now())

    # -- reviews and what turned out ----------------------------------------------------------------------------------------

    def queue(self, *, state: str = "open", limit: int = 100) -> list[Check]:
        """Reviews that wait, oldest first; or those that were "approved" or "rejected"."""
        states = ("open", *books.DECISIONS.values())
        if state not in states:
            raise unknown("state of a review", state, states)
        with self._home.ledger.read() as conn:
            return books.checks(conn, state=state, limit=limit)

    def settle(self, check_id: str, decision: str, *, by: str, note: str = "") -> Check:
        """Decide a review: "approve" or "reject". It becomes the label of its moment. Raises StateError where nothing is open."""
        with self._home.ledger.write() as conn:
            return books.settle(conn, check_id, decision, by=by, note=note, now=self._now())

    def label(self, known: pa.Table | Iterable[tuple[str, datetime]], *, by: str = "person:operator") -> int:
        """Note frauds that came out, such as chargebacks: the id of the order (or claim) and since when it is known; returns how many."""
        pairs = zip(*(known[name].to_pylist() for name in ("id", "known_at")), strict=True) if isinstance(known, pa.Table) else known
        rows = [(moment, True, utc(at, what="known_at")) for moment, at in pairs]
        if late := next((moment for moment, _, at in rows if at > self._now()), None):
            raise InputError(f'The fraud of "{late}" cannot be known since a time that has not come. Give the time at which it came out.')
        with self._home.ledger.write() as conn:
            return books.keep_labels(conn, rows, by=by, now=self._now())

    def labels(self) -> pa.Table:
        """What is known to be fraud: ``id`` and ``known_at``."""
        with self._home.ledger.read() as conn:
            return books.labels(conn)

    # -----------------------------------------------------------------------------------------------------------------------

    def _rules(self) -> list[Rule]:
        return load(self._home.root / FILE, FIELDS)

    def _named(self, name: str, rules: Sequence[Rule]) -> Rule:
        found = next((rule for rule in rules if rule.name == name), None)
        if found is None:
            raise unknown("rule", name, [rule.name for rule in rules])
        return found

    def _scored(self, found: History, rules: Sequence[Rule]) -> History:
        return scored(self._home, found) if any(SCORE in rule.fields for rule in rules) else found

    def _collected(self, moment: str, rules: Sequence[Rule]) -> tuple[int, dict[str, Any]]:
        found = history(self._home, until=self._cut(None))
        if moment not in found.ids:
            raise NotFound(f'There is no order and no claim "{moment}" among the events. Collect it first, or give its features.')
        found = self._scored(found, rules)
        place = found.ids.index(moment)
        return int(found.amount[place]), found.row(place)


def _standing(rule: Rule, permit: str | None, tested: Mapping[str, Any] | None) -> Standing:
    if rule.mode == "shadow":
        why = "its file says shadow"
    elif permit == rule.digest:
        return Standing(rule, True, "", tested)
    elif tested is None:
        why = "it was changed since it was activated; backtest it anew" if permit else "it was not backtested yet"
    else:
        why = "it was changed since it was activated; activate it anew" if permit else "it was backtested, but not activated"
    return Standing(rule, False, why, tested)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
