"""`customers`: who they are, what they will spend, who is leaving."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradewind.commands.base import AsOf, Json, ShopUrl, marked, opened_shop, say
from tradewind.errors import InputError, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 20
COLUMNS = ("customer", "segment", "stage", "frequency", "monetary", "expected_value", "churn", "top_category")


def customers(
    shop: ShopUrl = ".",
    customer: Annotated[str | None, typer.Option("--customer", help="Only this one, with every column.")] = None,
    tags: Annotated[bool, typer.Option("--tags", help="As tags: value, confidence, source, expiry.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write all rows to this file (.parquet or .csv).")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """One row per customer: profile, segment, expected value, churn. Without --out or --customer: the most valuable ones."""
    import pyarrow.compute as pc

    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out {out}: the name must end in .parquet or .csv.")
    with opened_shop(shop) as opened:
        table, at, simulated = opened.customers(tags=tags, as_of=as_of), opened.now(), opened.home.settings.simulated
    if customer is not None:
        table = table.filter(pc.equal(table["customer"], customer))
        if not table.num_rows:
            raise NotFound(f'There is no customer "{customer}" in the event log. Look for the id in the data, not for the e-mail address.')
    if out is not None:
        _save(table, out)
        told = {"rows": table.num_rows, "path": str(out), "simulated": simulated}
        say(told, marked(f"{table.num_rows:,} rows in {out}", simulated=simulated), as_json=as_json)
        return
    rows = _first(table, everything=tags or customer is not None)
    say({"rows": rows, "of": table.num_rows, "simulated": simulated}, _text(rows, table.num_rows, at, simulated), as_json=as_json)


def _first(table: pa.Table, *, everything: bool) -> list[dict[str, Any]]:
    if everything:
        return list(table.slice(0, 10 * SHOWN).to_pylist())
    best = table.sort_by([("expected_value", "descending"), ("monetary", "descending"), ("customer", "ascending")])
    return list(best.select(COLUMNS).slice(0, SHOWN).to_pylist())


def _text(rows: list[dict[str, Any]], of: int, at: datetime, simulated: bool) -> str:
    from tradewind.measure.report import to_text
    from tradewind.types import Report, Section

    if len(rows) == 1:
        return marked("\n".join(f"{name:<20} {_cell(value)}" for name, value in rows[0].items()), simulated=simulated)
    shown = tuple({name: _cell(value) for name, value in row.items()} for row in rows)
    note = f"{len(rows):,} of {of:,} rows; --out FILE writes all."
    return to_text(Report("Customers", at, [Section("By expected value", (note,), (), shown)], simulated=simulated))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


def _save(table: pa.Table, path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(table, path)
        else:
            pyarrow.parquet.write_table(table, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error}. Give a file in a folder that exists and that you may write to.") from error
