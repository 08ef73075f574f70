"""One customer at a time from a committed plan: profile and shortlist as the plan knew them, the ledger as it is now.

    door = shop.live()                         # once: the newest plan, its request, the solved model
    decision = door.decide("customer-42")      # the row of the plan, or with visit="...": a draw of its own, held in the ledger

With ``visits`` (how many are expected) the price of the budget is paced: dearer when money goes faster than visits (``decide/pacing.py``).
Without, it is the plan's. Either way the stop is hard: what the ledger has no room for becomes "nothing".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tradewind.collect.consent import Consents
from tradewind.collect.consent_acts import personal
from tradewind.decide import pacing
from tradewind.decide.fairness import Unfair, Watch
from tradewind.decide.live import Decision, Live, commit
from tradewind.decide.remembered import Remembered, blank
from tradewind.errors import InputError, NotFound, StateError, did_you_mean

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.decide.request import Request
    from tradewind.engine.home import Home

_MANY = 100_000  # customers: comparing a name with more of them takes too long


class Door:
    """Live decisions of one plan. Prepared once; one thread at a time where visits are paced.

    Raises
    ------
    StateError
        The shop's data have changed since the plan: its request cannot be made again.
    """

    def __init__(self, home: Home, request: Request, plan: Plan, *, visits: int | None = None, exact: bool = True) -> None:
        try:
            self._live = Live(request, plan, exact=exact)
        except InputError as error:
            raise StateError(
                f"The shop's data have changed since plan {plan.plan_id} (consents, items, models or offers), so that live decisions "
                "would not be the plan's. Decide again, and go on with the new plan."
            ) from error
        self._home, self._plan, self._consents, self._watch = home, plan, Consents(home), Watch(home)
        self._people = Remembered(home, request)
        self._pace: pacing.Pace | None = None
        if visits is not None:
            with home.ledger.read() as conn:
                left = pacing.left_of(conn, str(plan.meta["budget_id"]))
            self._pace = pacing.start(left, visits, price=float(plan.meta["price"]), floor=1.0)

    def decide(
        self,
        customer: str,
        *,
        context: Mapping[str, Any] | None = None,
        channels: Collection[str] | None = None,
        visit: str | None = None,
        now: datetime | None = None,
    ) -> Decision:
        """Decide for a customer of the plan.

        Parameters
        ----------
        context
            Columns of the profile that are different now, such as ``{"carts_30d": 2}``.
        channels
            Those that reach the customer on this occasion; without it those with consent, now.
        visit, now
            Name and moment of the occasion: its decision is held in the ledger at once. Without a visit nothing is written, and
            the answer is what the plan decided.

        Raises
        ------
        NotFound
            The plan does not know the customer.
        InputError
            A visit without a moment, or a context that does not fit the profile.
        Unfair
            The plan breaks ``fairness.toml``, which may have been written since.
        """
        found = self.draw(customer, context=context, channels=channels, visit=visit, now=now)
        if visit is None or now is None:
            return found
        kept = commit(self._home, [found], now).row(customer)
        if self._pace is not None:
            self._pace = pacing.paid(self._pace, min(float(kept["reserved"]), self._pace.left))
        return found if kept["mode"] == found.row["mode"] else found.kept(kept)

    def draw(
        self,
        customer: str,
        *,
        context: Mapping[str, Any] | None = None,
        channels: Collection[str] | None = None,
        visit: str | None = None,
        now: datetime | None = None,
        shortlist: Sequence[Mapping[str, Any]] | None = None,
        newcomer: bool = False,
    ) -> Decision:
        """As :meth:`decide`, but nothing is held: for who commits many together (a service).

        ``shortlist``: rows (item, score, source) of a recommender that knows more than the plan did, in place of the plan's. ``newcomer``:
        whether a customer whom the plan does not know is decided for as one without a past.
        """
        if why := self._watch.why(self._plan):
            raise Unfair(why)
        people = self._people.now()
        if customer not in people.rows and not newcomer:
            hint = did_you_mean(customer, people.rows) if len(people.rows) < _MANY else ""
            raise NotFound(f'The plan has no customer "{customer}".{hint} Decide a plan that includes the customer first.')
        if (visit is None) != (now is None):
            raise InputError("live: give a visit and its moment (now) together, or neither.")
        profile: pa.Table | dict[str, Any] = (
            people.profile(customer)
            if customer in people.rows
            else pa.Table.from_pylist([blank(customer, people.profiles.schema)], people.profiles.schema)
        )
        if context:
            profile = {**profile.to_pylist()[0], **context}  # type: ignore[union-attr]
        with self._home.ledger.read() as conn:  # what she said since the plan counts
            off = not personal(conn, customer)
            if channels is None:
                channels = [name for name in people.channels.get(customer, ()) if self._consents.allowed(conn, customer, name)[0]]
        return self._live.decide(
            profile,
            channels=channels,
            shortlist=people.shortlist(customer) if shortlist is None else shortlist,
            at=now,
            request_id=visit,
            price=None if self._pace is None else self._pace.price,
            impersonal=off,
        )
