"""The door to a shop's demand: learn it from purchases, show it, propose orders. ``shop.demand`` (docs/demand.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.errors import InputError, StateError, unknown
from tradewind.learn._demand_grid import Floats, Panel, regular, with_promotions
from tradewind.learn._demand_orders import LIKELY, Line, Terms, lacking, lasting, quantity, ratio_of
from tradewind.learn.demand import Demand
from tradewind.learn.registry import Version, active, publish
from tradewind.schema import Kind
from tradewind.types import NOTHING, Reason

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.engine.tables import Tables

NAME = "demand"  # in the registry
LEVELS = (0.5, 0.9)
DAYS = {"day": 1.0, "week": 7.0, "month": 30.4375}


class Planned(Protocol):
    """What is read of a plan of ``decide``: its table (``schema.PLAN``) and ``meta["window_days"]``."""

    @property
    def table(self) -> pa.Table: ...

    @property
    def meta(self) -> Mapping[str, Any]: ...


class DemandDesk:
    """Demand of one shop. ``cut`` turns what a caller says about a moment into a time that has passed."""

    def __init__(self, home: Home, *, now: Callable[[], datetime], cut: Callable[[datetime | str | None], datetime]) -> None:
        self._home, self._now, self._cut = home, now, cut

    def learn(
        self,
        *,
        horizon: int = 28,
        step: str = "day",
        region: str | None = None,
        store: str | None = None,
        out_of_stock: pa.Table | None = None,
        as_of: datetime | str | None = None,
        seed: int = 0,
    ) -> Version:
        """Learn demand from the purchases before ``as_of`` and make it the shop's active ``demand``.

        ``horizon`` periods of ``step`` (day, week, month; UTC); ``region``: a holiday calendar (cn, eu, us); ``store``: the key of the
        events' context that names the store, for one series per item and store; ``out_of_stock``: intervals (item, start, end) in which
        nobody could buy. Raises InputError for input that cannot be used, and where there is nothing to learn from.
        """
        at = self._cut(as_of)
        panel = self.panel(at, step=step, store=store, out_of_stock=out_of_stock, now=as_of is None, ahead=horizon)
        model = Demand(horizon=horizon, region=region, weigh="value", seed=seed).fit(panel)
        card = {"horizon": horizon, "step": step, "series": len(panel.items), "weights": list(model.weights), "left_out": panel.left_out}
        return publish(self._home, NAME, model.save, as_of=at, card=card, now=self._now())

    def panel(
        self, at: datetime, *, step: str = "day", store: str | None = None, out_of_stock: pa.Table | None = None, now: bool, ahead: int
    ) -> Panel:
        """The purchases before ``at`` as a panel, with promotions; ``now``: today's stock counts (items without any are out of stock)."""
        tables = self._home.tables
        panel = regular(_sales(tables, at, store), end=at.date(), step=step, out_of_stock=out_of_stock)
        if now and (gone := _gone(tables, panel)).any():
            y = panel.y.copy()
            last = panel.y.shape[1] - 1 - (np.nan_to_num(panel.y) > 0)[:, ::-1].argmax(axis=1)
            y[gone[:, None] & (np.arange(y.shape[1]) > last[:, None])] = np.nan  # nothing to sell since the last sale
            panel = Panel(panel.items, panel.start, y, panel.step, panel.stores, None, panel.value, panel.left_out)
        planned = _promotions(tables)
        return with_promotions(panel, planned, ahead=ahead) if planned.num_rows else panel

    def model(self) -> tuple[Demand, Version]:
        """The active model; raises StateError when demand was never learned."""
        try:
            found = active(self._home, NAME)
        except StateError as error:
            raise StateError(f"The shop's demand was not learned yet. Run: tradewind demand --shop {self._home.root}") from error
        return Demand.load(found.path), found

    def forecast(self, *, levels: Sequence[float] = LEVELS, plan: Planned | None = None) -> pa.Table:
        """One row per series and period: item, store, day, expected pieces, and a column ``q<percent>`` for every level."""
        model = self._told(plan)[0]
        panel, horizon = model.panel, model.horizon
        assert panel is not None
        n = len(panel.items)
        columns: dict[str, Any] = {
            "item": np.repeat(np.array(panel.items, dtype=object), horizon),
            "store": pa.nulls(n * horizon, pa.string())
            if panel.stores is None
            else np.repeat(np.array(panel.stores, dtype=object), horizon),
            "day": np.tile(model.dates(), n),
            "expected": model.mean().ravel(),
        }
        told = [model.quantiles(levels, first=period) for period in range(horizon)]
        for number, level in enumerate(levels):
            columns[f"q{level * 100:g}"] = np.stack([one[number] for one in told], axis=1).ravel()
        return pa.table(columns)

    def totals(self, *, by: str = "category", plan: Planned | None = None) -> pa.Table:
        """The forecast added up, bottom-up, by "category", "brand", "store" or "all": group, day, expected."""
        model = self._told(plan)[0]
        panel = model.panel
        assert panel is not None
        if by not in ("category", "brand", "store", "all"):
            raise unknown("grouping", by, ("all", "brand", "category", "store"))
        if by == "store":
            if panel.stores is None:
                raise InputError("demand: it was learned without stores. Learn it with the key of the store: tradewind demand --store KEY.")
            groups = list(panel.stores)
        elif by == "all":
            groups = ["all"] * len(panel.items)
        else:
            rows = self._home.tables.to_arrow(self._home.tables.get("items").select("item", by)).to_pylist()
            known = {row["item"]: row[by] or "" for row in rows}
            groups = [known.get(item, "") for item in panel.items]
        found = model.totals(groups)
        days = model.dates()
        return pa.table(
            {
                "group": pa.array([name for name in found for _ in days], pa.string()),
                "day": np.tile(days, len(found)),
                "expected": np.concatenate([found[name] for name in found]),
            }
        )

    def order(
        self,
        terms: Mapping[str, Terms] | None = None,
        *,
        usual: Terms | None = None,
        stock: Mapping[tuple[str, str | None], float] | None = None,
        plan: Planned | None = None,
        backorders: bool = False,
    ) -> list[Line]:
        """A proposal for every series, by item: how much to order now, and why; 0 where there is enough.

        ``terms``: how items are bought (others: ``usual``). ``stock``: pieces by (item, store); without it, the column of the catalogue.
        ``backorders``: customers wait for what is out of stock; else the sale is lost.

        Raises
        ------
        InputError
            A term is not allowed, names an item without demand, or needs a longer horizon.
        StateError
            Demand was not learned yet.
        """
        model, extra = self._told(plan)
        panel = model.panel
        assert panel is not None
        usual, told = (usual or Terms()).checked(), dict(terms or {})
        if strange := sorted(told.keys() - set(panel.items)):
            raise unknown("item with demand", strange[0], panel.items[:10])
        each = [told.get(item, usual) for item in panel.items]
        catalogue = self._catalogue()
        shelf: dict[tuple[str, str | None], float] = (
            {(item, None): row["stock"] for item, row in catalogue.items() if row["stock"] is not None} if stock is None else dict(stock)
        )
        ratios = [ratio_of(one, **_money(catalogue.get(item))) for item, one in zip(panel.items, each, strict=True)]
        stores = panel.stores or (None,) * len(panel.items)
        found = [
            shelf.get((item, store), shelf.get((item, None)) if store is None else None)
            for item, store in zip(panel.items, stores, strict=True)
        ]
        held = np.array([(pieces or 0.0) + one.in_transit for pieces, one in zip(found, each, strict=True)])
        upto = held + _lacking(model, each, held, np.array([ratio for ratio, _ in ratios]), lost=not backorders)
        lines = []
        for i, (item, store, one) in enumerate(zip(panel.items, stores, each, strict=True)):
            state = _State(
                upto=float(np.ceil(upto[i] - 1e-9)),
                mean=model.expected[i],
                more=float(extra[i, : one.lead + one.review].sum()),
                stock=found[i],
                cost=_money(catalogue.get(item))["cost"],
            )
            lines.append(_line(item, store, one, ratios[i], state, panel.step))
        return sorted(lines, key=lambda line: (line.item, line.store or ""))

    def _told(self, plan: Planned | None) -> tuple[Demand, Floats]:
        """The model with what a plan is expected to sell on top, and that by series and period."""
        model, _ = self.model()
        extra = np.zeros_like(model.expected) if plan is None else plan_extra(model, plan, self._catalogue())
        return (model if plan is None else model.with_extra(extra)), extra

    def _catalogue(self) -> dict[str, dict[str, Any]]:
        table = self._home.tables.get("items").select("item", "stock", "price", "cost")
        return {row["item"]: row for row in self._home.tables.to_arrow(table).to_pylist()}


def _lacking(model: Demand, terms: Sequence[Terms], held: Floats, ratio: Floats, *, lost: bool) -> Floats:
    """[n] pieces that are lacking when an order placed now arrives."""
    times = np.array([(one.lead, one.review) for one in terms])
    out = np.zeros(len(terms))
    for lead, review in np.unique(times, axis=0):
        mine = np.flatnonzero((times == (lead, review)).all(axis=1))
        after = model.quantiles(LIKELY, periods=int(review), first=int(lead), by="pieces")[:, mine]
        until = model.quantiles(LIKELY, periods=int(lead), by="pieces")[:, mine] if lead else np.zeros_like(after)
        out[mine] = lacking(until, after, held[mine], ratio[mine], lost=lost)
    return out


def plan_extra(model: Demand, plan: Planned, catalogue: Mapping[str, Mapping[str, Any]]) -> Floats:
    """[n, horizon] pieces that a plan is expected to sell beyond what would be sold anyway.

    ``decide`` expects of each decision an incremental margin; divided by the margin of a piece of the promoted item it is pieces, spread
    evenly over the plan's window from the time of sending on. Decisions without an item, without a known margin, or for the holdout add
    nothing. Of a panel with stores, each store gets its share of the item's forecast.
    """
    panel = model.panel
    assert panel is not None
    extra = np.zeros_like(model.expected)
    acts = pc.and_(pc.equal(plan.table["variant"], "treat"), pc.not_equal(plan.table["action"], NOTHING))
    rows = plan.table.filter(pc.and_(acts, pc.is_valid(plan.table["item"])))
    places: dict[str, list[int]] = {}
    for number, item in enumerate(panel.items):
        places.setdefault(item, []).append(number)
    begin = model.dates()[0].item()
    window = timedelta(days=float(plan.meta["window_days"])) / timedelta(days=DAYS[panel.step])
    for row in rows.select(["item", "value", "send_at", "at"]).to_pylist():
        money = _money(catalogue.get(row["item"]))
        if row["item"] not in places or money["price"] is None or money["cost"] is None or money["price"] <= money["cost"]:
            continue
        pieces = max(row["value"], 0.0) / (money["price"] - money["cost"])
        sent = ((row["send_at"] or row["at"]).date() - begin).days / DAYS[panel.step]
        edges = np.clip((np.arange(model.horizon + 1) - sent) / max(window, 1e-9), 0.0, 1.0)
        at = places[row["item"]]
        weight = model.expected[at].sum(axis=1)
        share = weight / weight.sum() if weight.sum() > 0 else np.full(len(at), 1 / len(at))
        extra[at] += pieces * share[:, None] * np.diff(edges)
    return extra


@dataclass(frozen=True)
class _State:
    """What is known of one series when its order is written."""

    upto: float  # pieces that stock and transit should reach
    mean: Floats  # [horizon] pieces expected
    more: float  # of them by a plan, over the span
    stock: float | None
    cost: float | None


def _line(item: str, store: str | None, terms: Terms, asked: tuple[float, Reason], state: _State, step: str) -> Line:
    ratio, why = asked
    span = terms.lead + terms.review
    held = state.stock or 0.0
    lasts = lasting(state.mean, held + terms.in_transit)
    order, steps = quantity(state.upto, stock=held, terms=terms)
    expected = float(state.mean[:span].sum())
    reasons = [why, Reason("expected", {"expected": round(expected, 2), "periods": span, "upto": state.upto, "step": step})]
    if state.more > 0:
        reasons.append(Reason("plan", {"extra": round(state.more, 2)}))
    transit = {"in_transit": terms.in_transit}
    reasons.append(Reason("stock_unknown", transit) if state.stock is None else Reason("stock", {"stock": state.stock, **transit}))
    reasons += steps
    if lasts is not None:
        reasons.append(Reason("runs_out", {"lasts": round(lasts, 1), "step": step}))
        if lasts < terms.lead:
            reasons.append(Reason("short_lead", {}))
    money = None if state.cost is None else round(state.cost * order)
    return Line(item, store, order, state.stock, terms.in_transit, expected, state.upto, ratio, lasts, money, tuple(reasons))


def _money(row: Mapping[str, Any] | None) -> dict[str, float | None]:
    return {"price": None, "cost": None} if row is None else {"price": row["price"], "cost": row["cost"]}


def _sales(tables: Tables, at: datetime, store: str | None) -> pa.Table:
    """Pieces and money by item and day (and store) of the purchases before ``at``."""
    events = tables.events(as_of=at)
    bought = events.filter((events.kind == str(Kind.PURCHASE)) & events.item.notnull())
    told = bought.mutate(day=bought.at.truncate("D"), quantity=bought.quantity.fill_null(1.0), paid=bought.value.fill_null(0))
    if store is None:
        made = told.group_by("item", "day").aggregate(quantity=told.quantity.sum(), value=told.paid.sum())
        return tables.to_arrow(made.order_by("item", "day"))
    rows = tables.to_arrow(told.select("item", "day", "quantity", "context", value=told.paid).order_by("item", "day"))
    names = [_store(text, store) for text in rows["context"].to_pylist()]
    if not any(names):
        raise InputError(f'demand: no purchase has "{store}" in its context. Map the column of the store to it, or leave the store out.')
    return rows.drop_columns(["context"]).append_column("store", pa.array(names, pa.string()))


def _store(text: str | None, key: str) -> str:
    found = json.loads(text).get(key) if text else None
    return "" if found is None else str(found)


def _gone(tables: Tables, panel: Panel) -> np.ndarray:
    """[n] items whose stock is known to be 0 now."""
    items = tables.to_arrow(tables.get("items").select("item", "stock"))
    none = set(items.filter(pc.less_equal(items["stock"], 0))["item"].to_pylist())
    return np.array([item in none and panel.stores is None for item in panel.items], dtype=bool)


def _promotions(tables: Tables) -> pa.Table:
    """(item, start, end, store) of placements, and of offers that name items and have a beginning."""
    placed = tables.to_arrow(tables.get("placements").select("item", "starts_at", "ends_at", "store"))
    offers, named = tables.get("offers"), tables.get("offer_items")
    joined = named.join(offers, "offer").select("item", "starts_at", "ends_at")
    told = tables.to_arrow(joined.filter(joined.starts_at.notnull() & joined.ends_at.notnull()))
    told = told.append_column("store", pa.nulls(told.num_rows, pa.string()))
    both = pa.concat_tables([placed.select(told.column_names), told]).rename_columns(["item", "start", "end", "store"])
    return both.sort_by([("item", "ascending"), ("start", "ascending"), ("end", "ascending")])
