"""`demand`: what will be sold. `order`: what to buy, and why."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradewind.commands.base import AsOf, Json, PlanId, Seed, ShopUrl, marked, opened_shop, say, write
from tradewind.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 20

Out = Annotated[Path | None, typer.Option("--out", help="Write all rows to this file (.csv or .json).")]
WithPlan = Annotated[bool, typer.Option("--with-plan", help="Add what a plan is expected to sell: --plan, else the newest.")]


def demand(
    shop: ShopUrl = ".",
    horizon: Annotated[int, typer.Option("--horizon", help="How many periods ahead.")] = 28,
    step: Annotated[str, typer.Option("--step", help="What a period is: day, week or month (UTC).")] = "day",
    region: Annotated[str | None, typer.Option("--region", help="Holiday calendar: cn, eu or us.")] = None,
    store: Annotated[str | None, typer.Option("--store", help="The key of the events' context that names the store.")] = None,
    out_of_stock: Annotated[
        Path | None,
        typer.Option("--out-of-stock", help="CSV: item, start, end (exclusive; empty: still). These periods are unknown, not 0."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Totals by category, brand, store or all, instead of items.")] = None,
    with_plan: WithPlan = False,
    plan: PlanId = None,
    out: Out = None,
    as_of: AsOf = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn demand from the purchases and forecast it, with quantiles; `order` and `decide` use the result."""
    _suffix(out)
    gaps = None if out_of_stock is None else _intervals(out_of_stock)
    with opened_shop(shop) as opened:
        found = opened.demand.learn(
            horizon=horizon, step=step, region=region, store=store, out_of_stock=gaps, as_of=as_of, seed=seed
        )  # fmt: skip
        planned = opened.plan(plan) if with_plan or plan else None
        table = opened.demand.forecast(plan=planned) if by is None else opened.demand.totals(by=by, plan=planned)
        simulated = opened.home.settings.simulated
    card = {"version": found.version, "as_of": found.as_of.isoformat(), "simulated": simulated, **found.card}
    if out is not None:
        _save(table.to_pylist(), out)
        told = marked(f"{table.num_rows:,} rows in {out}", simulated=simulated)
        say({**card, "rows": table.num_rows, "path": str(out)}, told, as_json=as_json)
        return
    rows = _most(table, "item" if by is None else "group")
    text = "\n".join([f"{card['series']:,} series, {horizon} {step}s ahead. Most expected:", *(_row(row) for row in rows)])
    say({**card, "totals": rows}, marked(text, simulated=simulated), as_json=as_json)


def order(
    shop: ShopUrl = ".",
    lead: Annotated[int, typer.Option("--lead", help="Periods until an order arrives.")] = 7,
    review: Annotated[int, typer.Option("--review", help="Periods between orders.")] = 7,
    service: Annotated[float | None, typer.Option("--service", help="Critical ratio, 0.01-0.99; default: from price and cost.")] = None,
    holding: Annotated[float, typer.Option("--holding", help="Share of its cost that a piece too many loses.")] = 0.1,
    terms: Annotated[
        Path | None, typer.Option("--terms", help="CSV by item: item, lead, review, minimum, pack, in_transit, service, holding.")
    ] = None,
    stock: Annotated[Path | None, typer.Option("--stock", help="CSV: item, stock, perhaps store. Default: the catalogue.")] = None,
    backorders: Annotated[
        bool, typer.Option("--backorders", help="Customers wait for what is out of stock; else the sale is lost.")
    ] = False,
    with_plan: WithPlan = False,
    plan: PlanId = None,
    locale: Annotated[str, typer.Option("--locale", help="Of the reasons: en or zh-CN.")] = "en",
    everything: Annotated[bool, typer.Option("--all", help="Also items of which there is enough.")] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Propose orders from the demand that `demand` learned: quantity, money and the reason on every line. Nothing is ordered."""
    from tradewind.learn._demand_orders import Terms, read_terms
    from tradewind.learn.demand_words import rows, sentence

    _suffix(out)
    sentence([], locale=locale)
    usual = Terms(lead=lead, review=review, service=service, holding=holding).checked()
    told = None if terms is None else read_terms(_csv(terms), usual=usual)
    shelf = None if stock is None else _stock(stock)
    with opened_shop(shop) as opened:
        planned = opened.plan(plan) if with_plan or plan else None
        lines = opened.demand.order(told, usual=usual, stock=shelf, plan=planned, backorders=backorders)
        simulated = opened.home.settings.simulated
    shown = rows([line for line in lines if everything or line.order], locale=locale)
    if out is not None:
        _save(shown, out)
        text = marked(f"{len(shown):,} lines in {out}", simulated=simulated)
        say({"lines": len(shown), "path": str(out), "simulated": simulated}, text, as_json=as_json)
        return
    head = f"{len(shown):,} of {len(lines):,} items need an order" if not everything else f"{len(lines):,} items"
    told_rows = [f"{row['item']:<24} {row['order']:>8,}  {row['reason']}" for row in shown[:SHOWN]]
    rest = [f"... {len(shown) - SHOWN:,} more; --out FILE writes all."] if len(shown) > SHOWN else []
    text = marked("\n".join([head, *told_rows, *rest]), simulated=simulated)
    say({"lines": shown, "of": len(lines), "simulated": simulated}, text, as_json=as_json)


def _most(table: pa.Table, name: str) -> list[dict[str, Any]]:
    summed = table.group_by(name).aggregate([("expected", "sum")]).rename_columns([name, "expected"])
    return list(summed.sort_by([("expected", "descending"), (name, "ascending")]).slice(0, SHOWN).to_pylist())


def _row(row: Mapping[str, Any]) -> str:
    name, expected = row.values()
    return f"{name:<24} {expected:>12,.1f}"


def _suffix(out: Path | None) -> None:
    if out is not None and out.suffix not in (".csv", ".json"):
        raise InputError(f"--out {out}: the name must end in .csv or .json.")


def _save(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    if path.suffix == ".json":
        write(path, json.dumps(list(rows), ensure_ascii=False, indent=1, default=str) + "\n")
        return
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write(path, text.getvalue())


def _csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}. Give a CSV file in UTF-8 with a heading.") from error


def _stock(path: Path) -> dict[tuple[str, str | None], float]:
    found: dict[tuple[str, str | None], float] = {}
    for number, row in enumerate(_csv(path), 2):
        try:
            found[(row["item"], row.get("store") or None)] = float(row["stock"])
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{path}, line {number}: needs the columns item and stock (a number), perhaps store; got {row}.") from None
    return found


def _intervals(path: Path) -> pa.Table:
    import datetime as dt

    import pyarrow as pa

    rows = []
    for number, row in enumerate(_csv(path), 2):
        try:
            end = row.get("end") or None
            rows.append({"item": row["item"], "start": dt.date.fromisoformat(row["start"]), "end": end and dt.date.fromisoformat(end)})
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{path}, line {number}: needs item, start and end as days such as 2026-03-01; got {row}.") from None
    days = [("item", pa.string()), ("start", pa.date32()), ("end", pa.date32())]
    return pa.Table.from_pylist(rows, schema=pa.schema(days))
