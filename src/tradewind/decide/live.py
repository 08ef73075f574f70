"""One decision at a time, for a customer who is here now: the answer that the batch plan gives, in milliseconds.

    live = Live(request, plan)                                    # once: offers, items, the solved model, the plan's price
    decision = live.decide(profile, shortlist=rows, channels=["inapp"], request_id="visit-42")
    commit(home, [decision], now)                                 # budget and stock are held in the ledger, or it becomes "nothing"

A live decision goes through the functions that made the plan, with the plan's price, seed, reach and safety. For the
customer, profile and shortlist of the plan it is the row of the plan: the same candidates, the same propensities and the same
draw. What only a whole plan knows (that its budget was used up by earlier rows) the ledger decides here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from sqlalchemy import select

from tradewind.decide import assemble, caps, features, prior, scarcity
from tradewind.decide.candidates import Candidates
from tradewind.decide.caps import claims
from tradewind.decide.commit import Short, promised
from tradewind.decide.hashing import canonical, digest, digests, uniforms
from tradewind.decide.holdout import held_out
from tradewind.decide.plan import Plan
from tradewind.decide.policy import POLICY, again, fingerprint_of, reserve
from tradewind.decide.request import Request
from tradewind.decide.sampling import draw_matrix, pick, propensities, wins
from tradewind.decide.scene import Scene, best_items, item_codes, scene
from tradewind.decide.shortlist import LONGEST, Shortlist, most_popular, ranked
from tradewind.decide.timing import send_times
from tradewind.decide.trace import row
from tradewind.engine.ledger import budgets
from tradewind.errors import InputError, did_you_mean
from tradewind.schema import PLAN
from tradewind.types import NOTHING, from_micros, utc

if TYPE_CHECKING:
    from tradewind.decide.explain import Explanation
    from tradewind.engine.home import Home

_AHEAD = timedelta(days=1)


@dataclass(frozen=True)
class Decision:
    """One live decision with its trace: ``row`` has the columns of ``schema.PLAN`` by name, candidates, values, costs,
    propensities, reasons and what was suppressed among them.
    """

    row: Mapping[str, Any]
    meta: Mapping[str, Any] = field(repr=False)
    _seen: Scene = field(repr=False)
    _found: Candidates = field(repr=False)

    @property
    def decision_id(self) -> str:
        return str(self.row["decision_id"])

    @property
    def customer(self) -> str:
        return str(self.row["customer"])

    @property
    def action(self) -> str:
        """What happens: the drawn action, and "nothing" for the holdout."""
        return NOTHING if self.row["variant"] == "holdout" else str(self.row["action"])

    @property
    def look_again(self) -> datetime | None:
        """When another look may give another answer, outside the quiet hours; None for who gets something now.

        It is the end of the gap after the last message where that stands in the way, else a day later.
        """
        if self.action != NOTHING:
            return None
        request, later = self._seen.request, self._seen.request.as_of + _AHEAD
        if "messages_gap" in json.loads(self.row["suppressed"]).values():
            last = utc(request.profiles["last_message_at"][0].as_py())
            later = max(last + timedelta(hours=request.limits.gap_hours), request.as_of)
        found, _ = send_times(request.profiles, as_of=later, limits=request.limits, zone=request.zone, impersonal=self._seen.impersonal)
        return from_micros(int(found[0]))

    def overridden(self, why: int) -> Decision:
        """The same decision as "nothing", because a hard limit (a key of ``assemble.OVER``) came first."""
        name, code = assemble.OVER[why]
        told = {
            "action": NOTHING, "offer": None, "item": None, "channel": None, "send_at": None, "mode": "override", "value": 0.0, "cost": 0.0,
            "reserved": 0, "propensity": self.row["propensities"][0],
            "suppressed": canonical(json.loads(self.row["suppressed"]) | {name: code}),
        }  # fmt: skip
        return replace(self, row={**self.row, **told})

    def kept(self, row: Mapping[str, Any]) -> Decision:
        """The same decision as the ledger keeps it."""
        return replace(self, row={**self.row, **row})

    @property
    def features(self) -> pa.Table:
        """What the value model saw: the training row of the next model."""
        return assemble.features(self._seen, self._found, [self.decision_id])

    def explain(self) -> Explanation:
        """Why this and nothing else, in English."""
        return gather([self]).explain(self.customer)


class Live:
    """Everything that live decisions share, prepared once from a plan and the request that it was decided from.

    Prices, reach and safety are the plan's until another plan takes its place. Items that start or end during the day are
    looked at again when the time of sending passes what was prepared. Safe to share between threads.

    ``exact``: whether the request must be the plan's. A shop goes on after a plan: with ``exact=False`` the request may be of today - its
    catalogue, models and customers - under the plan's prices; the meta of each decision then says from which (``decided_from``).

    Raises
    ------
    InputError
        The plan was decided from another request, and ``exact`` asks for that one.
    """

    def __init__(self, request: Request, plan: Plan, *, exact: bool = True) -> None:
        request = replace(request, items=request.items.combine_chunks())
        seen = scene(request)
        self.meta = plan.meta
        if plan.meta["inputs"] != (found := fingerprint_of(request, seen)):
            if exact:
                raise InputError(
                    f"Live: plan {plan.plan_id} was decided from another request. Give the request that decide got, unchanged."
                )
            self.meta = {**plan.meta, "decided_from": found}
        # Each decision brings its own customer: nobody else's row stays in memory.
        self._request = replace(request, profiles=request.profiles.slice(0, 0), allowed=request.allowed.slice(0, 0), shortlist=None)
        self._schema = request.profiles.schema
        self._shelf = seen.shelf
        self._width = seen.listed.item.shape[1]
        self._items = {name: row for row, name in enumerate(request.items["item"].to_pylist())}
        self._stock = scarcity.Reach.read(request, plan.meta["stock_reach"])
        self._draws = draw_matrix(request.seed, request.size - 1, correlation=float(plan.meta["correlation"]))

    def decide(
        self,
        profile: Mapping[str, Any] | pa.Table,
        *,
        channels: Collection[str],
        shortlist: pa.Table | Sequence[Mapping[str, Any]] = (),
        at: datetime | None = None,
        request_id: str | None = None,
        price: float | None = None,
        impersonal: bool = False,
    ) -> Decision:
        """Decide for one customer.

        Parameters
        ----------
        profile
            The customer's row, with the columns of the plan's profiles; columns left out of a mapping are unknown.
        channels
            Those with consent, now.
        shortlist
            Rows (item, score, optional source and reasons as JSON) of a recommender.
        at
            The moment; the plan's when left out.
        request_id
            Names the occasion: the same one gives the same draw, another one another. Without it the decision is the plan's.
        price
            Of the budget, where it is paced; the plan's when left out.
        impersonal
            The customer switched personalisation off since the plan was made.

        Raises
        ------
        InputError
            The profile names no customer, is not one row, or has columns that the plan did not know.
        """
        moment = self._request.as_of if at is None else utc(at, what="at")
        profiles = self._profile(profile)
        customer = str(profiles["customer"][0].as_py())
        listed = self._listed(shortlist, customer)
        allowed = pa.table(
            {"customer": pa.array([customer] * len(channels), pa.string()), "channel": pa.array(list(channels), pa.string())}
        )
        off = self._request.impersonal | {customer} if impersonal else self._request.impersonal
        request = replace(self._request, as_of=moment, profiles=profiles, allowed=allowed, shortlist=listed, impersonal=off)
        seen = self._scene(request, customer)
        inputs = str(self.meta["inputs"])
        ids = digests(inputs if request_id is None else f"{inputs}\x1f{request_id}", [customer])
        units = assemble.units(profiles)
        treat = ~held_out(units, salt=request.salt, share=request.holdout)
        found, choices = again(seen, ids, self.meta, self._stock)
        price = float(self.meta["price"]) if price is None else price
        shares, _ = wins(choices, self._draws, price=price)
        chances = propensities(shares, found.valid, floor=float(self.meta["floor"]))
        drawn = pick(chances, uniforms(request.seed, ids))
        acting = np.flatnonzero(treat & (drawn > 0))
        reserved = np.zeros(1, dtype=np.int64)
        reserved[acting] = reserve(found, drawn, acting, safety=float(self.meta["safety"]))
        outcome = assemble.Outcome(ids, units, treat, chances, drawn, reserved, np.zeros(1, dtype=np.int8), price, choices.scores(price))
        plan_id = digest("live", *ids)
        told = row(seen, found, outcome, plan_id=plan_id, policy=POLICY)
        meta = {
            **self.meta,
            "plan_id": plan_id,
            "live_of": self.meta["plan_id"],
            "as_of": moment.isoformat(),
            "stock": scarcity.promised(found, seen, drawn, acting)
            | caps.there(caps.limits(seen, found), budget_id=str(self.meta["budget_id"])),
        }
        return Decision(told, meta, seen, found)

    def _profile(self, profile: Mapping[str, Any] | pa.Table) -> pa.Table:
        if isinstance(profile, Mapping):
            for name in profile:
                if name not in self._schema.names:
                    raise InputError(f'Live: the plan\'s profiles have no column "{name}".{did_you_mean(name, self._schema.names)}')
            try:
                profile = pa.Table.from_pylist([dict(profile)], schema=self._schema)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise InputError(f"Live: the profile does not fit the plan's profiles: {error}.") from error
        if profile.num_rows != 1 or profile.schema.names != self._schema.names:
            raise InputError(
                f"Live: give one row with the columns of the plan's profiles ({', '.join(self._schema.names)}); "
                f"got {profile.num_rows} rows of {', '.join(profile.schema.names)}."
            )
        if profile["customer"][0].as_py() is None:
            raise InputError("Live: the profile has no customer.")
        return profile

    def _listed(self, rows: pa.Table | Sequence[Mapping[str, Any]], customer: str) -> pa.Table:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows])
        if not table.num_rows:
            none = pa.array([], pa.string())
            return pa.table({"customer": none, "item": none, "score": pa.array([], pa.float64())})
        for column in ("item", "score"):
            if column not in table.column_names:
                raise InputError(f'Live: the shortlist needs the column "{column}". Got: {", ".join(table.column_names)}.')
        if "customer" not in table.column_names:
            table = table.append_column("customer", pa.array([customer] * table.num_rows, pa.string()))
        return table

    def _scene(self, request: Request, customer: str) -> Scene:
        """One customer before the shelf."""
        impersonal = np.array([customer in request.impersonal])
        send_at, bad = send_times(request.profiles, as_of=request.as_of, limits=request.limits, zone=request.zone, impersonal=impersonal)
        shelf = self._shelf
        if int(send_at[0]) > shelf.until:
            until = int(send_at[0]) + int(_AHEAD / timedelta(microseconds=1))
            codes = item_codes(request, shelf.kinds, until=until)
            self._shelf = shelf = replace(shelf, codes=codes, until=until, top=best_items(codes, shelf.named, shelf.popular))
        if impersonal[0]:
            buys, basket = (np.array([mean]) for mean in shelf.average)
            relative = np.ones(1)
        else:
            buys = prior.buys(request.profiles, window_days=request.window_days, shop=shelf.rate)
            relative = prior.relative(request.profiles, answers=shelf.answers)
            basket = prior.baskets(request.profiles, shop=shelf.basket)
        x = features.customer_matrix(request.profiles, shelf.model.columns)
        x[impersonal] = np.nan
        moved = prior.moved(buys, mean=shelf.average[0], answers=shelf.answers, relative=relative)
        listed = self._shortlist(request, impersonal[0])
        return Scene(request, shelf, request.profiles, impersonal, send_at, bad, listed, buys, relative, moved, basket, x)

    def _shortlist(self, request: Request, impersonal: np.bool_) -> Shortlist:
        """As :func:`tradewind.decide.shortlist.shortlist`, for one customer."""
        table = request.shortlist
        assert table is not None
        popular = self._shelf.popular
        place = np.full((1, self._width), -1, dtype=np.int64)
        item = place.copy()
        if impersonal:
            best = most_popular(popular, self._width)
            item[0, : len(best)] = best
            return Shortlist(item, place, popular, 0)
        what = np.array([self._items.get(name, -1) for name in table["item"].to_pylist()], dtype=np.int64)
        score = table["score"].cast(pa.float64()).fill_null(-np.inf).to_numpy()
        known = np.flatnonzero((what >= 0) & ~np.isnan(score))
        order = ranked(known, np.zeros_like(what), what, score, len(self._items))[:LONGEST]
        if len(order) > self._width:
            place = np.full((1, len(order)), -1, dtype=np.int64)
            item = place.copy()
        item[0, : len(order)], place[0, : len(order)] = what[order], order
        return Shortlist(item, place, popular, table.num_rows - len(known))


def gather(decisions: Sequence[Decision]) -> Plan:
    """Live decisions as one plan, sorted by decision: to keep, to explain, to learn from.

    Raises
    ------
    InputError
        There is none, two are the same, or they belong to different plans.
    """
    if not decisions:
        raise InputError("gather: there is no decision.")
    if len({one.meta["live_of"] for one in decisions}) > 1:
        raise InputError("gather: the decisions belong to different plans. Gather those of one plan at a time.")
    stock = {name: left for one in decisions for name, left in one.meta["stock"].items()}
    features = pa.concat_tables([one.features for one in decisions])
    return bound([one.row for one in decisions], features, {**decisions[0].meta, "stock": stock})


def bound(rows: Sequence[Mapping[str, Any]], features: pa.Table, meta: Mapping[str, Any]) -> Plan:
    """Rows of live decisions of one plan and their features, in one order, as a plan: what :func:`gather` does with decisions.

    Raises
    ------
    InputError
        Two are the same.
    """
    order = sorted(range(len(rows)), key=lambda at: (rows[at]["customer"], rows[at]["decision_id"]))
    ids = [str(rows[at]["decision_id"]) for at in order]
    if len(set(ids)) != len(ids):
        raise InputError("gather: a decision is there twice. Give every occasion a request_id of its own.")
    plan_id = digest("live", *ids)
    table = pa.Table.from_pylist([{**rows[at], "plan_id": plan_id} for at in order], schema=PLAN)
    newest = max(row["at"] for row in rows)
    return Plan(table, {**meta, "plan_id": plan_id, "as_of": newest.isoformat()}, features.take(pa.array(order)))


def commit(home: Home, decisions: Sequence[Decision], now: datetime) -> Plan:
    """Make live decisions real in one ledger transaction, as far as budget and stock reach, and return them as a plan.

    The first ones come first; what does not fit any more becomes "nothing" (``mode = "override"``). Conditional updates in the
    ledger decide, so that no number of servers promises more than there is. Committing the same decisions again changes
    nothing and returns what was committed.

    Raises
    ------
    StateError
        A decision was committed in another plan before, or the budget is held in another currency.
    """
    fits, plan = list(decisions), gather(decisions)
    while True:
        try:
            return plan if plan.commit(home, now) else Plan.load(home, plan.plan_id)
        except Short:
            acting = [at for at, one in enumerate(fits) if one.row["variant"] == "treat" and one.row["action"] != NOTHING]
            fits = _fitting(home, fits, acting, now)
            plan = gather(fits)


def _fitting(home: Home, decisions: list[Decision], acting: list[int], now: datetime) -> list[Decision]:
    """The decisions, those overridden that what is free now has no room for; at least one of them."""
    found, free = list(decisions), _free(home, decisions[0].meta)
    taken = promised(home, at=now)
    late = 0
    for at in acting:
        one = decisions[at]
        things = dict(claims(one.row, one.meta["stock"]))
        full = [thing for thing, amount in things.items() if taken.get(thing, 0) + amount > one.meta["stock"][thing]]
        money = one.row["reserved"] <= free
        if money and not full:
            free -= one.row["reserved"]
            for thing, amount in things.items():
                taken[thing] = taken.get(thing, 0) + amount
        else:
            pieces = any(thing.startswith(("item:", "offer:")) for thing in full)
            found[at] = one.overridden(1 if not money else 2 if pieces else 3)
            late += 1
    if not late:  # somebody took it in the meantime
        found[acting[-1]] = decisions[acting[-1]].overridden(1)
    return found


def _free(home: Home, meta: Mapping[str, Any]) -> int:
    """What the budget has left, minor units."""
    table = budgets
    with home.ledger.read() as conn:
        row = conn.execute(select(table).where(table.c.budget == meta["budget_id"])).mappings().first()
    return int(meta["budget"]) if row is None else int(row["amount"] - row["reserved"] - row["spent"])
