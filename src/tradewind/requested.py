"""What a decision is asked: read from a shop's tables and models as they were at one moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind import asked
from tradewind.errors import InputError, StateError
from tradewind.types import utc

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.decide.curve import Curve
    from tradewind.decide.door import Door
    from tradewind.decide.plan import Plan
    from tradewind.decide.promotion_guard import Promotion
    from tradewind.decide.request import Request
    from tradewind.decide.value import ValueModel
    from tradewind.decide.versions import Policies
    from tradewind.decide.what_if import WhatIf
    from tradewind.engine.home import Home
    from tradewind.engine.tables import Tables
    from tradewind.types import Offer

Progress = Callable[[float, str], None]
UNASKED = {"offers": None, "channels": None, "budget": "0", "holdout": 0.1, "window_days": 14, "seed": 0, "limits": None}
SHORTLIST = 20  # items per customer that the recommender hands to the decision


def request(  # the arguments of Shop.decide, and the shop's clock
    home: Home,
    *,
    offers: Sequence[str] | None,
    channels: Sequence[str] | Mapping[str, int] | None,
    budget: str,
    holdout: float,
    window_days: int,
    as_of: datetime | str | None,
    seed: int,
    now: datetime,
    progress: Progress,
    limits: str | Path | Mapping[str, Any] | None = None,
    models: Mapping[str, str | None] | None = None,
    only: Collection[str] | None = None,
) -> Request:
    """The request of :meth:`tradewind.shop.Shop.decide`, which says what the arguments are.

    ``models`` names the versions of a policy that is replayed: then only what earlier plans promised counts. ``only``: of these customers
    alone, as if the shop had no others.

    Raises
    ------
    StateError
        Nothing was learned yet, or there is no event at all.
    """
    from tradewind.collect.studied import studied
    from tradewind.collect.withdrawals import withdraw_from_log
    from tradewind.decide.commit import promised
    from tradewind.decide.limits import one_budget, read_limits
    from tradewind.decide.read import read_offers
    from tradewind.decide.request import Request

    _, currency = asked.budget("0", currency=home.settings.currency)
    told, _ = read_limits(limits, currency=currency)
    amount, currency = asked.budget(one_budget(budget, told) if isinstance(budget, str) else budget, currency=home.settings.currency)
    costs = asked.channels(channels)
    wanted = read_offers(home.tables, only=asked.several(offers))
    cut = asked.cut(home, as_of, now=now)
    withdraw_from_log(home)  # what came through the inbox counts, too
    progress(0.1, "profiles")
    tables = studied(home) if only is None else studied(home).only(only)
    people = _people(home, tables, cut, models, told.promotion)
    progress(0.4, "shortlists")
    shortlist = _shortlist(home, tables, cut, models)
    progress(0.7, "choosing")
    return Request(
        as_of=cut,
        profiles=people,
        offers=wanted,
        allowed=_allowed(home, list(costs)),
        channels=costs,
        budget=amount,
        currency=currency,
        salt=f"{home.settings.salt}/{cut.isoformat()}",  # each plan draws its holdout anew: docs/adr/0004
        seed=seed,
        shortlist=shortlist,
        holdout=holdout,
        model=_value(home, cut, models),
        limits=told.limits,
        exposure=told.exposure,
        caps=told.caps,
        **_known(home, wanted, cut, blocked=told.blocked),
        window_days=window_days,
        impersonal=_impersonal(home),
        margin=home.settings.margin,
        promised=promised(home, at=now) if models is None else promised(home, at=cut, before=cut),
        zone=home.settings.zone,
    )


def _allowed(home: Home, channels: Sequence[str]) -> pa.Table:
    """Who may be contacted now on which of the channels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from tradewind.collect.consent import Consents

    found = Consents(home).sendable()
    return found.filter(pc.is_in(found["channel"], value_set=pa.array(list(channels), pa.string())))


def _impersonal(home: Home) -> frozenset[str]:
    """Who switched personalisation off, as of now: also a replay of the past does not read their profiles."""
    from tradewind.collect.consent_acts import impersonal

    with home.ledger.read() as conn:
        return impersonal(conn)


def _known(home: Home, offers: Sequence[Offer], cut: datetime, *, blocked: frozenset[str]) -> dict[str, Any]:
    """What the shop's tables say about items, redemptions, what followed clicks, who is blocked and who holds an offer."""
    from tradewind.decide import known
    from tradewind.learn.answers import followed, redemptions

    came = followed(home.tables, as_of=cut)
    return {
        "items": known.with_stock_ends(home, home.tables.to_arrow(home.tables.get("items")), as_of=cut),
        "redeemed": redemptions(home.tables, as_of=cut),
        "extra_orders": came.orders,
        "heard": came.channels,
        "blocked": blocked | known.blocked(home),
        "held": known.held(home, offers, as_of=cut),
    }


def replayed(home: Home, version: str, **more: Any) -> Request:
    """The request that a stored policy makes of the shop; ``more``: the moment and the progress.

    Raises
    ------
    NotFound, StateError
        There is no such policy, or it was made by other code.
    """
    from tradewind.decide.versions import replayable

    found = replayable(home, version)
    return request(home, **found.settings, models=found.models, **more)


def decided(
    home: Home,
    policy: str | None,
    *,
    as_of: datetime | str | None,
    now: Callable[[], datetime],
    progress: Progress,
    key: str | None = None,
    **wanted: Any,
) -> Plan:
    """The committed plan of what is ``wanted`` (:func:`request`), or of a stored policy; it names its version, which is stored.

    Raises
    ------
    InputError
        A policy is replayed and something else is asked beside it.
    StateError
        The plan breaks a rule of the shop's ``fairness.toml``; it is not committed.
    """
    from dataclasses import replace

    from tradewind.decide import versions
    from tradewind.decide.limits import read_limits
    from tradewind.decide.policy import decide

    if key is not None and (known := _of_key(home, key)) is not None:
        return known
    if policy is not None:
        if odd := sorted(name for name, value in wanted.items() if value != UNASKED[name]):
            raise InputError(f"decide: a policy brings its own {', '.join(odd)}. Leave out what stands beside it, or the policy.")
        plan = decide(replayed(home, policy, as_of=as_of, now=now(), progress=progress))
        version = versions.find(home, policy).version
    else:
        plan = decide(request(home, **wanted, as_of=as_of, now=now(), progress=progress))
        limits = read_limits(wanted["limits"], currency=str(plan.meta["currency"]))[1]
        names = ("offers", "channels")
        plain = {name: wanted[name] if isinstance(wanted[name], Mapping | str | None) else list(wanted[name]) for name in names}
        settings = wanted | plain | {"limits": limits or None}
        version = versions.publish(home, settings, models=versions.current(home), as_of=utc(plan.meta["as_of"]), now=now())
    plan = replace(plan, meta={**plan.meta, "policy_version": version} | ({} if key is None else {"key": key}))
    progress(0.95, "committing")
    plan.commit(home, now())
    return plan


def _of_key(home: Home, key: str) -> Plan | None:
    """The plan that was committed under a key."""
    import json

    from sqlalchemy import select

    from tradewind.decide.plan import Plan
    from tradewind.engine.ledger import plans

    with home.ledger.read() as conn:
        rows = conn.execute(select(plans.c.plan_id, plans.c.meta).where(plans.c.meta.contains(json.dumps(key), autoescape=True))).all()
    found = [row.plan_id for row in rows if json.loads(row.meta).get("key") == key]
    return Plan.load(home, found[0]) if found else None


def retaken(home: Home, version: str, plan: Plan, *, now: datetime) -> Plan:
    """The plan that a stored policy would have made at the moment of ``plan``; it is not committed."""
    from tradewind.decide.policy import decide

    return decide(replayed(home, version, as_of=str(plan.meta["as_of"]), now=now, progress=lambda _share, _what: None))


def curved(home: Home, budgets: Sequence[str], **wanted: Any) -> Curve:
    """What :meth:`tradewind.shop.Shop.curve` gives."""
    from tradewind.decide.curve import curve

    return curve(request(home, **wanted), [asked.budget(one, currency=home.settings.currency)[0] for one in budgets])


def door(home: Home, plan: Plan, *, visits: int | None, now: datetime, exact: bool = True) -> Door:
    """What :meth:`tradewind.shop.Shop.live` gives; not ``exact``: over the shop of today, for a service that outlives its plan's data."""
    from tradewind.decide.door import Door

    found = _again(home, plan, now=now) if exact else _today(home, plan, now=now)
    return Door(home, found, plan, visits=visits, exact=exact)


def _today(home: Home, plan: Plan, *, now: datetime) -> Request:
    """What the policy of a plan would ask of the shop as it is now, with the holdout of the plan."""
    from dataclasses import replace

    from tradewind.decide import versions

    settings = versions.find(home, _version(plan)).settings
    # Its models may know what was until the plan; clocks of visitors may run ahead of ours.
    cut = max(min(asked.cut(home, None, now=now), now), utc(plan.meta["as_of"]))
    made = request(home, **settings, as_of=cut, now=now, progress=lambda _share, _what: None)
    return replace(made, salt=f"{home.settings.salt}/{utc(plan.meta['as_of']).isoformat()}")


def _again(home: Home, plan: Plan, *, now: datetime) -> Request:
    """The request of a committed plan, made once more."""
    return replayed(home, _version(plan), as_of=str(plan.meta["as_of"]), now=now, progress=lambda _share, _what: None)


def _version(plan: Plan) -> str:
    """The policy that made a plan of the shop as a whole."""
    version = plan.meta.get("policy_version")
    if (campaign := plan.meta.get("campaign")) is not None:
        raise StateError(
            f'Plan {plan.plan_id} is of the campaign "{campaign}", whose audience is decided for as a whole. Name a plan of the shop '
            "(--plan), or decide one."
        )
    if version is None:
        raise StateError(f"Plan {plan.plan_id} names no policy version: it is of an older Tradewind. Decide again.")
    return str(version)


def what_if(home: Home, plan: Plan, customer: str, changes: Sequence[str], *, now: datetime) -> WhatIf:
    """What :meth:`tradewind.shop.Shop.what_if` gives.

    Raises
    ------
    InputError
        A change is not NAME=VALUE, or limits of contact are changed together with what the log alone answers.
    """
    from tradewind.decide.what_if import under, without

    pairs = [change.partition("=")[::2] for change in changes]
    names = [value for name, value in pairs if name == "without"]
    numbers: dict[str, float] = {}
    for name, value in pairs:
        try:
            numbers |= {} if name == "without" and value else {name: int(value) if value.lstrip("-").isdigit() else float(value)}
        except ValueError:
            raise InputError(f'what if: write a change as messages_30d=2, price=1.5 or without=email; got "{name}={value}".') from None
    price = numbers.pop("price", None)
    if not numbers:
        return without(plan, customer, names=names, price=price)
    if names or price is not None:
        raise InputError("what if: change limits of contact alone, without a price or a name beside them; one constraint at a time.")
    return under(home, _again(home, plan, now=now), plan, customer, numbers)


def shown(policies: Policies, live: Callable[[], Door], *, rollback: str | None, customer: str | None) -> tuple[Any, str]:
    """What the command line says of policies (JSON values and text), after a roll-back, or of one customer's live decision."""
    if customer is not None:
        found = live().decide(customer).explain()
        return found.to_dict(), str(found)
    if rollback is not None:
        policies.rollback(rollback)
    return {"policies": policies.rows()}, str(policies)


Models = Mapping[str, str | None]


def _shortlist(home: Home, tables: Tables, cut: datetime, models: Models | None) -> pa.Table:
    import numpy as np

    from tradewind.learn import base
    from tradewind.learn.registry import active
    from tradewind.learn.sequences import sequences

    path = _path(home, "recommend", cut, models)
    model = base.load(path or active(home, "recommend", before=cut).path)
    histories = sequences(tables, as_of=cut)
    items = home.tables.to_arrow(home.tables.get("items").select("item", "price", "stock", "available_from", "available_until"))
    sellable = {
        row["item"]
        for row in items.to_pylist()
        if row["price"] and (row["stock"] is None or row["stock"] > 0)
        and (row["available_from"] is None or row["available_from"] <= cut)
        and (row["available_until"] is None or row["available_until"] > cut)
    }  # fmt: skip
    allowed = np.array([item in sellable for item in model.items], dtype=bool)
    ranking = model.recommend(histories, k=SHORTLIST, exclude_seen=["purchase"], allowed=allowed)
    return ranking.table()


def _people(home: Home, tables: Tables, cut: datetime, models: Models | None, promotion: Promotion | None) -> pa.Table:
    """The profiles, with what was learned of answers, and whom a policy keeps from coupons."""
    from tradewind.decide.promotion_guard import marked
    from tradewind.learn.profiles import profiles

    people = profiles(tables, as_of=cut)
    if people.num_rows == 0:
        raise StateError(f"Nobody to decide for: no event before {cut:%Y-%m-%d %H:%M} UTC and no row of customers names a customer.")
    return marked(home, _answering(home, tables, people, cut, models), promotion, as_of=cut)


def _answering(home: Home, tables: Tables, people: pa.Table, cut: datetime, models: Models | None) -> pa.Table:
    """The profiles with how readily each customer answers messages, and at what hour, where that was learned."""
    from tradewind.decide.hours import answered, with_hours
    from tradewind.learn.answers import Answers

    people = with_hours(people, *answered(tables, people, as_of=cut))

    path = _path(home, "answers", cut, models)
    return Answers.load(path).added(people) if path else people


def _value(home: Home, cut: datetime, models: Models | None) -> ValueModel | None:
    from tradewind.decide.value import ValueModel

    path = _path(home, "value", cut, models)
    return ValueModel.load(path) if path else None  # no outcome yet: the plan says that its values are the prior


def _path(home: Home, name: str, cut: datetime, models: Models | None) -> Path | None:
    """Where a model lies: that of the replayed policy, or the active one; None where none was learned."""
    from tradewind.decide.versions import model_path
    from tradewind.learn.registry import active, learned

    if models is not None:
        return model_path(home, name, models.get(name))
    return active(home, name, before=cut).path if learned(home, name) else None
