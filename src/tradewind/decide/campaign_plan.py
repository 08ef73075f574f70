"""What a campaign would do: the shop's own decision, restricted to the audience and to what is left of the budget.

Nothing is decided here. The request is that of ``Shop.decide`` with the campaign's offers open to the audience alone; a sample of
the other customers stays in it, so that the averages of the shop are the shop's. Only the audience's rows are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from tradewind.decide.campaign_file import Campaign
from tradewind.decide.eligibility import EXPLAIN
from tradewind.decide.hashing import canonical, digest, fingerprint, uniforms
from tradewind.decide.plan import Plan
from tradewind.decide.policy import decide
from tradewind.decide.request import Request
from tradewind.decide.triggers_run import replay
from tradewind.engine.ledger import budgets
from tradewind.types import NOTHING, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

Ask = Callable[..., Request]  # tradewind.requested.request
OTHERS = 20_000  # customers outside the audience who stay in the request, for the averages
_LISTED = ("customer", "item", "score", "source", "reasons")
PREVIEW = timedelta(days=28)  # of the past in which a trigger is replayed to show what it would have done
WORDS = EXPLAIN | {
    "holdout": "held out, to measure against",
    "not_chosen": "nothing promised more than it costs, or the draw chose nothing",
    "budget_full": "the budget was used up",
    "stock_full": "the pieces were used up",
    "limit_full": "a limit was used up",
}


@dataclass(frozen=True)
class Trial:
    """A plan that is not committed, with what it was made of; ``plan`` is None when there is nobody to decide for."""

    plan: Plan | None
    members: frozenset[str]
    customers: int  # in the shop
    hashes: Mapping[str, str]
    request: Request  # of everybody
    firings: int | None = None


def trial(home: Home, campaign: Campaign, ask: Ask, *, as_of: datetime | str | None, now: datetime) -> Trial:
    """The plan that the campaign would make. With a trigger: for those for whom it would have fired in the last ``PREVIEW``."""
    request = asked(home, campaign, ask, as_of=as_of, now=now)
    members = _audience(campaign, request.profiles)
    firings, wanted = None, dict[str, Sequence[str]]()
    if campaign.watch is not None:
        found = replay(home, campaign.watch, since=request.as_of - PREVIEW, until=request.as_of)
        wanted = {one.customer: one.items for one in found if one.customer in members}
        firings, members = len(found), members & wanted.keys()
    plan = None
    if members:
        plan = decided(request, campaign, members, wanted=wanted, soon=campaign.watch is not None)
    return Trial(plan, members, request.profiles.num_rows, _hashes(request, campaign, plan), request, firings)


def asked(
    home: Home, campaign: Campaign, ask: Ask, *, as_of: datetime | str | None, now: datetime, only: Collection[str] | None = None
) -> Request:
    """The request of the shop, for everybody or ``only`` some, with what is left of the campaign's budget; each plan draws its holdout
    (ADR 0004)."""
    found = ask(
        home, offers=campaign.offers, channels=campaign.channels, budget=campaign.budget, holdout=campaign.holdout,
        window_days=campaign.window_days, as_of=as_of, seed=campaign.seed, now=now, progress=lambda _share, _what: None,
        limits=campaign.limits or None, only=only,
    )  # fmt: skip
    return replace(found, budget=max(found.budget - _used(home, campaign.budget_id), 0), budget_id=campaign.budget_id)


def around(home: Home, members: Collection[str], *, as_of: datetime) -> frozenset[str] | None:
    """``members`` and as many others as stay in a request for the averages; None where that is everybody."""
    sources = (home.tables.events(as_of=as_of), home.tables.get("customers"))
    known = (home.tables.to_arrow(one.select("customer").distinct())["customer"].drop_null() for one in sources)
    names = sorted(set().union(*(column.to_pylist() for column in known)) - set(members))
    if len(names) <= OTHERS:
        return None
    return frozenset(members).union(np.array(names)[uniforms(0, names, purpose="campaign others") < OTHERS / len(names)].tolist())


def decided(request: Request, campaign: Campaign, members: Collection[str], *, wanted: Mapping[str, Sequence[str]], soon: bool) -> Plan:
    """The plan for ``members``. ``wanted``: the items that it is about, by customer; ``soon``: at the next hour that is not quiet."""
    names = request.profiles["customer"].to_pylist()
    inside = np.array([name in members for name in names], dtype=bool)
    share = OTHERS / max(int((~inside).sum()), 1)
    kept = inside | (uniforms(0, names, purpose="campaign others") < share)
    profiles = request.profiles.filter(pa.array(kept))
    if soon:
        profiles = _soon(profiles, request.as_of)
    only = frozenset(members)
    kind = "abandoned_cart" if campaign.watch is not None and campaign.watch.machine.until_purchase else None
    offers = tuple(
        replace(
            one,
            audience=only if one.audience is None else one.audience & only,
            ends_at=min(one.ends_at or campaign.ends, campaign.ends),
            campaign=kind or one.campaign,  # ``withdraw`` takes such messages back when the customer buys
        )
        for one in request.offers
    )
    plan = decide(replace(request, profiles=profiles, offers=offers, shortlist=_instead(request, wanted)))
    return _only(plan, only, {"campaign": campaign.name, "campaign_hash": campaign.hash})


def left_out(plan: Plan) -> dict[str, int]:
    """Why how many customers of the plan get nothing: reason code (``WORDS`` says it in English) -> customers."""
    counts: Counter[str] = Counter()
    for row in plan.table.select(["variant", "action", "mode", "candidates", "suppressed"]).to_pylist():
        if row["variant"] == "holdout":
            counts["holdout"] += 1
        elif row["action"] == NOTHING:
            codes = json.loads(row["suppressed"])
            if row["mode"] == "override":
                counts[next(code for code in codes.values() if code in ("budget_full", "stock_full", "limit_full"))] += 1
            elif len(row["candidates"]) > 1:
                counts["not_chosen"] += 1
            else:
                counts[_main(codes, len(plan.meta["channel_costs"]))] += 1
    return dict(counts.most_common())


def stale(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What changed since a plan was shown, by name; the whole is named only when no part is."""
    parts = [name for name in after if name != "everything" and before.get(name) != after[name]]
    return parts or (["everything"] if before.get("everything") != after["everything"] else [])


def _audience(campaign: Campaign, profiles: pa.Table) -> frozenset[str]:
    inside = campaign.audience_of(profiles)
    return frozenset(profiles["customer"].filter(pa.array(inside)).to_pylist())


def _used(home: Home, budget: str) -> int:
    with home.ledger.read() as conn:
        row = conn.execute(select(budgets.c.reserved, budgets.c.spent).where(budgets.c.budget == budget)).one_or_none()
    return 0 if row is None else int(row.reserved + row.spent)


def _soon(profiles: pa.Table, as_of: datetime) -> pa.Table:
    """The profiles with the next whole hour as the best one, so that a message comes while its reason is fresh."""
    hour = (as_of + timedelta(hours=1, microseconds=-1)).hour
    for name, value in (("best_hour", pa.scalar(hour, pa.int8())), ("hour_confidence", pa.scalar(1.0))):
        column = pa.repeat(value, profiles.num_rows)
        place = profiles.schema.get_field_index(name)
        profiles = profiles.append_column(name, column) if place < 0 else profiles.set_column(place, name, column)
    return profiles


def _instead(request: Request, wanted: Mapping[str, Sequence[str]]) -> pa.Table | None:
    """The shortlist with the items that a trigger is about, where the shop has them, in place of what the recommender says."""
    told, known = request.shortlist, set(request.items["item"].to_pylist())
    about = {customer: found for customer, items in wanted.items() if (found := [item for item in items if item in known])}
    if told is None or not about:
        return told
    told = told.select([name for name in told.column_names if name in _LISTED])
    others = told.filter(pc.invert(pc.is_in(told["customer"], value_set=pa.array(sorted(about), pa.string()))))
    rows = [
        {"customer": customer, "item": item, "score": float(-place), "source": "trigger", "reasons": "[]"}
        for customer, items in sorted(about.items())
        for place, item in enumerate(items)
    ]
    return pa.concat_tables([pa.Table.from_pylist(rows, schema=told.schema), others])


def _only(plan: Plan, members: frozenset[str], more: Mapping[str, Any]) -> Plan:
    table = plan.table.filter(pc.is_in(plan.table["customer"], value_set=pa.array(sorted(members), pa.string())))
    features = plan.features
    if features is not None:
        features = features.filter(pc.is_in(features["decision_id"], value_set=table["decision_id"].combine_chunks()))
    return Plan(table, {**plan.meta, **more}, features)


def _hashes(request: Request, campaign: Campaign, plan: Plan | None) -> dict[str, str]:
    """A hash of each part of what a plan was made of, and of everything."""
    parts = {
        "file": campaign.hash,
        "time": str(micros(request.as_of)),
        "customers": fingerprint(request.profiles),
        "catalogue": fingerprint(request.items),
        "consents": fingerprint(request.allowed),
        "recommendations": "" if request.shortlist is None else fingerprint(request.shortlist),
        "offers": digest(*(canonical([one.offer, one.kind, dict(one.terms), one.eligible, str(one.ends_at)]) for one in request.offers)),
        "budget": str(request.budget),
    }
    return parts | {"everything": digest(plan.plan_id if plan is not None else "nobody", canonical(parts))}


def _main(codes: Mapping[str, str], channels: int) -> str:
    """The reason that counts: no channel reaches the customer, else the most frequent one among the offers."""
    closed = [code for name, code in codes.items() if name.startswith("channel:")]
    if len(closed) == channels:
        return Counter(closed).most_common(1)[0][0]
    offers = [code for name, code in codes.items() if not name.startswith("channel:") and "|" not in name]
    return Counter(offers or closed or ["not_chosen"]).most_common(1)[0][0]
