"""What a decision is asked: read from a shop's tables and models as they were at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tradewind import asked
from tradewind.errors import StateError

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.decide.request import Request
    from tradewind.decide.value import ValueModel
    from tradewind.engine.home import Home

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
    progress: Callable[[float, str], None],
) -> Request:
    """The request of :meth:`tradewind.shop.Shop.decide`, which says what the arguments are.

    Raises
    ------
    StateError
        Nothing was learned yet, or there is no event at all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from tradewind.collect.consent import Consents
    from tradewind.collect.withdrawals import withdraw_from_log
    from tradewind.decide.commit import promised
    from tradewind.decide.read import read_offers
    from tradewind.decide.request import Request
    from tradewind.learn.answers import redemptions
    from tradewind.learn.profiles import profiles

    amount, currency = asked.budget(budget, currency=home.settings.currency)
    costs = asked.channels(channels)
    wanted = read_offers(home.tables, only=asked.several(offers))
    cut = asked.cut(home, as_of, now=now)
    withdraw_from_log(home)  # what came through the inbox counts, too
    progress(0.1, "profiles")
    people = profiles(home.tables, as_of=cut)
    if people.num_rows == 0:
        raise StateError(f"Nobody to decide for: no event before {cut:%Y-%m-%d %H:%M} UTC and no row of customers names a customer.")
    people = _answering(home, people, cut)
    progress(0.4, "shortlists")
    shortlist = _shortlist(home, cut)
    progress(0.7, "choosing")
    allowed = Consents(home).sendable()
    return Request(
        as_of=cut,
        profiles=people,
        offers=wanted,
        items=home.tables.to_arrow(home.tables.get("items")),
        allowed=allowed.filter(pc.is_in(allowed["channel"], value_set=pa.array(list(costs)))),
        channels=costs,
        budget=amount,
        currency=currency,
        salt=f"{home.settings.salt}/{cut.isoformat()}",  # each plan draws its holdout anew: docs/adr/0004
        seed=seed,
        shortlist=shortlist,
        holdout=holdout,
        model=_value(home, cut),
        window_days=window_days,
        margin=home.settings.margin,
        promised=promised(home, at=now),
        redeemed=redemptions(home.tables, as_of=cut),
        zone=home.settings.zone,
    )


def _shortlist(home: Home, cut: datetime) -> pa.Table:
    import numpy as np

    from tradewind.learn import base
    from tradewind.learn.registry import active
    from tradewind.learn.sequences import sequences

    model = base.load(active(home, "recommend", before=cut).path)
    histories = sequences(home.tables, as_of=cut)
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


def _answering(home: Home, people: pa.Table, cut: datetime) -> pa.Table:
    """The profiles with how readily each customer answers messages, where that was learned."""
    from tradewind.learn.answers import Answers
    from tradewind.learn.registry import active, learned

    return Answers.load(active(home, "answers", before=cut).path).added(people) if learned(home, "answers") else people


def _value(home: Home, cut: datetime) -> ValueModel | None:
    from tradewind.decide.value import ValueModel
    from tradewind.learn.registry import active, learned

    if not learned(home, "value"):
        return None  # no outcome yet: the plan says that its values are the prior
    return ValueModel.load(active(home, "value", before=cut).path)
