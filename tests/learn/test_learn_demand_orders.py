"""Orders: the arithmetic of packs and minima, a replay that books every piece, a reason on every line, and the shop's door."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_kit import fill
from typer.testing import CliRunner

from tradewind.cli import app
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn import _demand_trees as trees
from tradewind.learn._demand_orders import Line, Terms, lacking, lasting, quantity, ratio_of, read_terms
from tradewind.learn.demand import Demand
from tradewind.learn.demand_desk import DemandDesk
from tradewind.learn.demand_replay import replay
from tradewind.learn.demand_words import locales, rows, sentence
from tradewind.learn.registry import Version
from tradewind.types import Reason

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
CODES = (
    "ratio_asked", "ratio_margin", "ratio_assumed", "expected", "plan", "stock", "stock_unknown", "enough", "lack", "minimum", "pack",
    "runs_out", "short_lead",
)  # fmt: skip


@given(st.floats(0, 1000), st.floats(0, 1000), st.integers(0, 50), st.integers(1, 12), st.integers(0, 100))
def test_an_order_reaches_its_level_in_whole_packs(upto: float, stock: float, minimum: int, pack: int, transit: int) -> None:
    terms = Terms(minimum=minimum, pack=pack, in_transit=transit)
    order, reasons = quantity(upto, stock=stock, terms=terms)
    assert order % pack == 0
    if upto - stock - transit <= 1e-9:
        assert order == 0
        assert [one.code for one in reasons] == ["enough"]
    else:
        assert order >= minimum
        assert stock + transit + order >= upto - 1e-6
        assert order < max(minimum, upto - stock - transit + 1) + pack
        assert reasons[0].code == "lack"


def test_the_critical_ratio_is_margin_against_what_is_left_over() -> None:
    ratio, why = ratio_of(Terms(holding=0.1), price=1900, cost=1000)
    assert ratio == pytest.approx(900 / 1000)
    assert (why.code, why.details["margin"]) == ("ratio_margin", 900)
    assert ratio_of(Terms(service=0.8), price=1900, cost=1000)[0] == 0.8
    assert ratio_of(Terms(), price=None, cost=1000) == (0.9, Reason("ratio_assumed", {"ratio": 0.9}))
    assert ratio_of(Terms(), price=500, cost=1000)[0] == 0.01


def test_what_is_lost_in_the_lead_time_is_not_ordered_again() -> None:
    """Lead demand 0 or 10 and review demand 4 or 6, each half the time, by hand."""
    lead, review = np.array([[0.0], [10.0]]), np.array([[4.0], [6.0]])

    def at(ratio: float, held: float, *, lost: bool = True) -> float:
        return float(lacking(lead, review, np.array([held]), np.array([ratio]), lost=lost)[0])

    assert at(0.99, 5.0) == 6.0  # nothing left over, 6 asked
    assert at(0.5, 5.0) == 1.0  # 5 left over half the time: lacks are 0, 1, 4, 6
    assert at(0.99, 5.0, lost=False) == 11.0  # and 5 owed
    assert at(0.99, 20.0) == 0.0


def test_how_long_pieces_last() -> None:
    assert lasting(np.array([2.0, 2.0, 2.0]), 3.0) == pytest.approx(1.5)
    assert lasting(np.array([2.0, 2.0, 2.0]), 0.0) == 0.0
    assert lasting(np.array([2.0, 2.0, 2.0]), 6.0) is None
    assert lasting(np.zeros(3), 0.0) is None


def test_terms_are_read_and_refused_by_name() -> None:
    told = read_terms([{"item": "a", "lead": "3", "pack": "", "in_transit": "2.5"}], usual=Terms(pack=6))
    assert told == {"a": Terms(lead=3, pack=6, in_transit=2.5)}
    for row, match in (
        ({"item": "a", "leed": "3"}, 'did you mean "lead"|Did you mean "lead"'),
        ({"item": "", "lead": "3"}, "names no item"),
        ({"item": "a", "lead": "soon"}, "must be a number"),
        ({"item": "a", "pack": "0"}, 'terms of "a": pack'),
        ({"item": "a", "lead": "1.5"}, "lead must be a whole number"),
        ({"item": "a", "service": "1.5"}, "service"),
    ):
        with pytest.raises(InputError, match=match):
            read_terms([row], usual=Terms())
    with pytest.raises(InputError, match="twice"):
        read_terms([{"item": "a"}, {"item": "a"}], usual=Terms())


def test_a_replay_books_every_piece() -> None:
    demand = np.array([[3.0, 3, 3, 3, 3, np.nan]])
    done = replay(demand, lambda t, held: np.maximum(6 - held, 0), stock=np.array([4.0]), lead=1, review=2, under=9, over=1)
    # period 0: 4 held, 2 ordered, 3 sold; 1: 2 arrive, 3 sold; 2: none left, 6 ordered, 3 lost; 3: 6 arrive, 3 sold; 4: 3 ordered, 3 sold.
    assert done.fill == pytest.approx(12 / 15)
    assert done.ordered == 2 + 6 + 3
    assert done.left == 4 + done.ordered - 12
    assert done.cost == pytest.approx(3 * 9 + (1 + 0 + 0 + 3 + 0 + 3))
    assert done.cost_per_unit == pytest.approx(done.cost / 15)
    assert done.out_of_stock == pytest.approx(1 / 6)
    assert replay(np.zeros((2, 3)), lambda t, held: held * 0, stock=np.zeros(2), lead=0, review=1, under=1, over=1).fill == 1.0
    with pytest.raises(InputError, match="0 or more"):
        replay(demand, lambda t, held: held * 0 - 1, stock=np.zeros(1), lead=0, review=1, under=1, over=1)
    with pytest.raises(InputError, match="review"):
        replay(demand, lambda t, held: held, stock=np.zeros(1), lead=0, review=0, under=1, over=1)


def test_every_reason_is_told_in_every_language() -> None:
    details = {
        "ratio": 0.9, "margin": 5, "holding": 1.0, "expected": 3.0, "periods": 14, "upto": 5.0, "step": "week", "extra": 1.0, "stock": 3.0,
        "in_transit": 0.0, "pieces": 2, "minimum": 5, "pack": 6, "packs": 2, "lasts": 1.5,
    }  # fmt: skip
    assert locales() == ["en", "zh-CN"]
    for locale in locales():
        for code in CODES:
            assert sentence([Reason(code, details)], locale=locale)
    with pytest.raises(NotFound, match='"fr"'):
        sentence([], locale="fr")


# -- the shop's door ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "ROWS", 4000)
    monkeypatch.setattr(trees, "ROUNDS", 40)


def purchases(*, until: datetime = AS_OF, seed: int = 0) -> list[dict[str, Any]]:
    """Five items, 90 days: i0 sells most, i4 now and then; a return, and a purchase without a quantity."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for day in range(90):
        at = until - timedelta(days=90 - day) + timedelta(hours=9)
        for k, rate in enumerate((6.0, 3.0, 2.0, 1.0, 0.15)):
            found += [
                {
                    "id": f"p{day}-{k}-{piece}", "at": at, "kind": "purchase", "customer": "c-1", "item": f"i{k}", "quantity": 1.0,
                    "value": 1000, "currency": "CNY", "source": "t", "context": json.dumps({"shop": "north" if piece % 2 else "south"}),
                }
                for piece in range(int(rng.poisson(rate)))
            ]  # fmt: skip
    late = {"customer": "c-1", "source": "t"}
    found.append({"id": "r", "at": until - timedelta(days=3), "kind": "refund", "item": "i0", "quantity": 50.0, **late})
    found.append({"id": "n", "at": until - timedelta(days=2), "kind": "purchase", "item": "i4", **late})
    return found


CATALOGUE = [
    {"item": f"i{k}", "category": "tea" if k < 2 else "cup", "price": 1000, "cost": 500, "currency": "CNY", "stock": stock}
    for k, stock in enumerate((5, 500, None, 10, 0))
]


def desk(home: Home, events: list[dict[str, Any]] | None = None, *, now: datetime = AS_OF, **more: Any) -> DemandDesk:
    fill(home, purchases() if events is None else events, more={"items": CATALOGUE, **more})
    return DemandDesk(home, now=lambda: now, cut=lambda at: AS_OF if at is None else datetime.fromisoformat(str(at)))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, DemandDesk, Version]]:
    """A shop that learned its demand for three weeks ahead."""
    with pytest.MonkeyPatch.context() as patch, Home.open(tmp_path_factory.mktemp("demand") / "shop") as home:
        patch.setattr(trees, "ROWS", 4000)
        patch.setattr(trees, "ROUNDS", 40)
        door = desk(home)
        with pytest.raises(StateError, match="tradewind demand"):
            door.order()
        yield home, door, door.learn(horizon=21, region="cn")


def test_a_shop_learns_forecasts_and_orders(learned: tuple[Home, DemandDesk, Version]) -> None:
    _, door, found = learned
    assert found.card["series"] == 5
    table = door.forecast()
    assert table.num_rows == 5 * 21
    daily = {row["item"]: row["expected_mean"] for row in table.group_by("item").aggregate([("expected", "mean")]).to_pylist()}
    for item, rate in (("i0", 6.0), ("i1", 3.0), ("i2", 2.0), ("i3", 1.0)):
        assert daily[item] == pytest.approx(rate, rel=0.25)
    totals = door.totals(by="category")
    assert sum(totals["expected"].to_pylist()) == pytest.approx(sum(table["expected"].to_pylist()))
    assert set(totals["group"].to_pylist()) == {"tea", "cup"}
    lines = {line.item: line for line in door.order({"i3": Terms(lead=2, review=3, pack=6, minimum=20)})}
    assert lines["i0"].order == lines["i0"].upto - 5
    assert lines["i0"].ratio == pytest.approx(500 / 550)
    assert lines["i0"].upto > 7 * 6.0
    owed = {line.item: line for line in door.order(backorders=True)}
    assert owed["i0"].upto > 14 * 6.0 > lines["i0"].upto
    assert {"lack", "runs_out", "short_lead"} <= {one.code for one in lines["i0"].reasons}
    assert lines["i0"].money == lines["i0"].order * 500
    assert (lines["i1"].order, lines["i1"].lasts) == (0, None)
    assert "stock_unknown" in {one.code for one in lines["i2"].reasons}
    assert lines["i3"].order % 6 == 0
    assert all(row["reason"] for row in rows(list(lines.values()), locale="zh-CN"))
    json.dumps([line.to_dict() for line in lines.values()])
    with pytest.raises(InputError, match="longer horizon"):
        door.order(usual=Terms(lead=20, review=20))
    with pytest.raises(NotFound, match='"i9"'):
        door.order({"i9": Terms()})


def test_what_happens_later_changes_nothing(home: Home, tmp_path: Path) -> None:
    """Rewriting everything from the cut on leaves the forecast bit-identical."""
    early = (AS_OF - timedelta(days=10)).isoformat()
    door = desk(home)
    door.learn(horizon=7, as_of=early)
    with Home.open(tmp_path / "other") as other:
        cut = datetime.fromisoformat(early)
        kept = [row for row in purchases() if row["at"] < cut]
        late = [{**row, "quantity": 90.0} for row in purchases(seed=9) if row["at"] >= cut]
        again = desk(other, kept + late)
        again.learn(horizon=7, as_of=early)
        assert door.forecast().equals(again.forecast())


def test_stores_stock_outs_and_an_empty_shelf(home: Home) -> None:
    door = desk(home)
    panel = door.panel(AS_OF, store="shop", now=True, ahead=7)
    assert panel.stores is not None
    assert set(panel.stores) >= {"north", "south"}
    with pytest.raises(InputError, match='"branch"'):
        door.panel(AS_OF, store="branch", now=True, ahead=7)
    gaps = pa.table({"item": ["i0"], "start": [date(2026, 2, 1)], "end": [date(2026, 2, 8)]})
    masked = door.panel(AS_OF, out_of_stock=gaps, now=True, ahead=7)
    at = masked.items.index("i0")
    assert np.isnan(masked.y[at]).sum() == 7
    gone = masked.items.index("i4")  # no piece is left, so nobody could buy one since the last sale on February 28
    assert np.isnan(masked.y[gone, -1:]).all()
    assert np.isfinite(door.panel(AS_OF, now=False, ahead=7).y[gone, -1:]).all()


class Plan:
    """Two decisions for i1 (one of them of the holdout) and one for nothing."""

    def __init__(self) -> None:
        self.meta = {"window_days": 7}
        self.table = pa.table(
            {
                "variant": ["treat", "holdout", "treat"],
                "action": ["pick|i1|email", "pick|i1|email", "nothing"],
                "item": ["i1", "i1", None],
                "value": [5000.0, 5000.0, 0.0],
                "at": [AS_OF] * 3,
                "send_at": pa.array([AS_OF, AS_OF, None], pa.timestamp("us", tz="UTC")),
            }
        )


def test_orders_are_files_with_reasons(learned: tuple[Home, DemandDesk, Version], tmp_path: Path) -> None:
    home, door, _ = learned
    terms = tmp_path / "terms.csv"
    terms.write_text("item,lead,pack\ni0,3,12\n")
    ask = ["order", "--shop", str(home.root), "--terms", str(terms), "--locale", "zh-CN", "--out"]
    for name in ("orders.csv", "orders.json"):
        done = CliRunner().invoke(app, [*ask, str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    with (tmp_path / "orders.csv").open(encoding="utf-8") as handle:
        written = list(csv.DictReader(handle))
    assert written
    assert [row["item"] for row in written] == [row["item"] for row in json.loads((tmp_path / "orders.json").read_text())]
    assert all(row["reason"] for row in written)
    assert int(next(row for row in written if row["item"] == "i0")["order"]) % 12 == 0
    assert isinstance(CliRunner().invoke(app, [*ask, str(tmp_path / "orders.txt")]).exception, InputError)
    with pytest.raises(InputError, match="without stores"):
        door.totals(by="store")


def test_what_a_plan_sells_is_fed_forward(learned: tuple[Home, DemandDesk, Version]) -> None:
    _, door, _ = learned

    def expected(item: str, plan: Plan | None) -> list[float]:
        rows = door.forecast(plan=plan).to_pylist()
        return [row["expected"] for row in rows if row["item"] == item]

    more = np.array(expected("i1", Plan())) - np.array(expected("i1", None))
    np.testing.assert_allclose(more, [10 / 7] * 7 + [0.0] * 14)  # 5,000 of margin at 500 a piece, over a window of seven days
    assert expected("i0", Plan()) == expected("i0", None)
    lines: list[Line] = door.order(plan=Plan(), stock={("i1", None): 0.0})
    reasons = {line.item: {one.code for one in line.reasons} for line in lines}
    assert "plan" in reasons["i1"]
    assert "plan" not in reasons["i0"]


def test_decide_knows_what_demand_expects_to_be_sold_out(home: Home, learned: tuple[Home, DemandDesk, Version]) -> None:
    from tradewind.decide.known import with_stock_ends

    desk(home)
    items = home.tables.to_arrow(home.tables.get("items"))

    def ends(shop: Home, as_of: datetime = AS_OF) -> dict[str, datetime | None]:
        return {row["item"]: row["stock_ends"] for row in with_stock_ends(shop, items, as_of=as_of).to_pylist()}

    assert ends(home)["i1"] is not None  # at the pace of the last weeks the stock of 500 ends some day
    shop, _, version = learned
    told = ends(shop)
    model = Demand.load(version.path)
    assert model.panel is not None
    daily = model.expected[model.panel.items.index("i0")]
    lasts = lasting(daily, 5.0)
    assert lasts is not None
    assert told["i0"] is not None
    assert (told["i0"] - AS_OF) / timedelta(days=1) == pytest.approx(lasts)
    assert told["i1"] is None  # the forecast says that it outlasts the next weeks
    assert told["i2"] is None  # its stock is not known
    assert told["i4"] == AS_OF  # nothing is left
    assert ends(shop, AS_OF - timedelta(days=1))["i1"] is not None  # a forecast that knows the future is not asked
    after = ends(shop, AS_OF + timedelta(days=1))["i0"]
    assert after is not None
    assert after > told["i0"]  # what was forecast for yesterday is over
