"""New arrivals: what counts as new, what little response says, and whose categories come first."""

from __future__ import annotations

import numpy as np
import pytest
from recommend_worlds import HOUR, hour, of

from tradewind.errors import InputError
from tradewind.learn._content_catalogue import Catalogue
from tradewind.learn.arrivals import ANY, Arrivals, prior
from tradewind.learn.sequences import Sequences

DAY = 24
AS_OF = hour(100 * DAY)


def shop(extra: list[tuple[str, str, int]], **given: object) -> Sequences:
    """Forty old items with many buyers up to day 99, and ``extra`` rows of (customer, item, hour)."""
    rows = [
        (f"c{(7 * n + item) % 200}", f"old{item:02d}", DAY * (10 + (n * 13 + item) % 90)) for item in range(40) for n in range(item + 3)
    ]
    rows += [(f"c{n}", "old00", DAY * 99 + n % 20) for n in range(200)]
    rows += extra
    return Sequences.from_arrays([r[0] for r in rows], item=[r[1] for r in rows], at=[r[2] * HOUR for r in rows], **given)  # type: ignore[arg-type]


def named(model: Arrivals, history: Sequences, k: int = 9) -> list[str]:
    return [str(model.items[item]) for item in model.recommend(history, k=k, exclude_seen=False).items[0] if item >= 0]


def test_only_what_appeared_within_the_days_is_shown() -> None:
    log = shop([("c1", "new", 95 * DAY), ("c1", "edge", 93 * DAY), ("c1", "gone", 93 * DAY - 1)])
    model = Arrivals(days=7).fit(log, as_of=AS_OF)
    assert set(named(model, log.histories(["nobody"]))) == {"new", "edge"}


def test_the_catalogues_first_day_wins_over_the_first_event() -> None:
    listed = {"old item": 0, "unsold": 96 * DAY * HOUR, "tomorrow": 101 * DAY * HOUR}
    log = shop([("c1", "old item", 99 * DAY)], items=["unsold", "tomorrow", "undated"], catalogue=Catalogue(listed=listed))
    model = Arrivals(days=7).fit(log, as_of=AS_OF)
    assert named(model, log.histories(["nobody"])) == ["unsold"]
    [why] = model.reasons(log, row=0, item=list(model.items).index("unsold"))
    assert (why.code, why.details["takers"]) == ("arrival", 0)
    assert why.details["customers"] == 200


def test_more_takers_rank_higher_and_nothing_known_beats_known_to_be_bad() -> None:
    liked = [(f"c{n}", "liked", 95 * DAY) for n in range(60)]
    log = shop([*liked, ("c1", "ignored", 94 * DAY)], items=["untried"], catalogue=Catalogue(listed={"untried": 100 * DAY * HOUR - 1}))
    model = Arrivals(days=7).fit(log, as_of=AS_OF)
    order = named(model, log.histories(["nobody"]))
    assert set(order) == {"liked", "ignored", "untried"}
    assert order.index("liked") < order.index("ignored")
    assert order.index("untried") < order.index("ignored")
    greedy = Arrivals(days=7, quantile=0.5).fit(log, as_of=AS_OF)
    assert greedy._hope[list(model.items).index("untried")] < model._hope[list(model.items).index("untried")]


def test_the_customers_categories_come_first() -> None:
    rows = [(f"c{n}", "hat", 95 * DAY) for n in range(60)] + [("c5", "tea", 96 * DAY)]
    shelves = {"hat": "hats", "tea": "drinks", "old01": "drinks"}
    log = shop(rows, categories=shelves)
    model = Arrivals(days=7).fit(log, as_of=AS_OF)
    assert named(model, log.histories(["nobody"])) == ["hat", "tea"]
    drinker = of(("new", "old01", 1))
    assert named(model, drinker) == ["tea", "hat"]
    items = list(model.items)
    assert model.reasons(drinker, row=0, item=items.index("tea"))[0].details["category"] == "drinks"
    assert "category" not in model.reasons(drinker, row=0, item=items.index("hat"))[0].details
    assert model.reasons(drinker, row=0, item=items.index("old01")) == ()


def test_an_unsold_item_has_the_catalogues_category() -> None:
    known = Catalogue(shelves={"untried": "drinks"}, listed={"untried": 99 * DAY * HOUR, "hat": 99 * DAY * HOUR})
    log = shop([("c7", "old01", 99 * DAY)], items=["untried", "hat"], categories={"old01": "drinks"}, catalogue=known)
    model = Arrivals(days=7).fit(log, as_of=AS_OF)
    assert named(model, log.histories(["c7"]))[0] == "untried"


def test_thompson_depends_on_the_seed_and_on_nothing_else() -> None:
    log = shop([(f"c{n}", f"new{n % 12}", 95 * DAY) for n in range(30)])
    orders = [named(Arrivals(days=7, explore="thompson", seed=seed).fit(log, as_of=AS_OF), log.histories(["x"])) for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


def test_the_prior_is_recovered_from_a_shop_that_follows_it() -> None:
    rng = np.random.default_rng(5)
    asked = rng.integers(500, 3000, 4000)
    takers = rng.binomial(asked, rng.beta(3.0, 57.0, 4000))
    a, b = prior(takers, asked)
    assert a / (a + b) == pytest.approx(0.05, rel=0.05)
    assert a + b == pytest.approx(60, rel=0.15)
    assert prior(takers[:3], asked[:3]) == ANY


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="explore"):
        Arrivals(explore="greedy").fit(shop([]), as_of=AS_OF)
    with pytest.raises(InputError, match="days"):
        Arrivals(days=0).fit(shop([]), as_of=AS_OF)
