"""A page of copy that a person can read, in both languages and all formats: ``docs/copy_examples.md``.

Without ``--path`` the goods are those of our own simulated shop, and the page is written. With ``--path`` the goods are those of a real
catalogue - a folder with ``products.parquet`` and ``transactions.parquet`` (completejourney) or a CSV of products with title, price
and currency (brightdata) - and the page is only printed: other people's data stays out of the repository. ``--items`` says how many.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from _harness import ROOT, Harness

from tradewind.compose.base import Brief
from tradewind.compose.facts import Facts, Proof, Storefront, gather, unsellable
from tradewind.compose.guard import Guard
from tradewind.compose.locales import data
from tradewind.compose.markets import Market
from tradewind.compose.prices import History, Quote, Sale
from tradewind.compose.recipe import RECIPES
from tradewind.compose.script import Lot, perform
from tradewind.compose.writing import write
from tradewind.types import Offer, Reason

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
ENDS = NOW + timedelta(days=6, hours=6, minutes=59)
PAGE = ROOT / "docs" / "copy_examples.md"
FORMATS = [name for name in RECIPES if not name.startswith("live.")]
OFFERS = (
    None,
    Offer("tenth", "coupon", {"percent": 10}, ends_at=ENDS),
    Offer("from", "coupon", {"fixed": 2_000, "threshold": 15_000}, ends_at=ENDS),
    Offer("ship", "free_shipping", {"shipping": 800, "threshold": 9_900}, ends_at=ENDS),
)
Goods = list[tuple[dict[str, Any], Proof | None]]
HEAD = """# Copy, as it is written

Made by `python bench/copy_examples.py` from the goods of our own simulated shop; nothing on this page was typed by hand. Every number
comes from a fact, every sentence from `src/tradewind/compose/packs/en.toml` and `zh_cn.toml`, every text passed the guard.
"""


def main() -> None:
    """Write or print the page."""
    bench = Harness("copy_examples", __doc__, extra={"--items": {"type": int, "default": 3}})
    path: Path | None = bench.arguments.path
    goods = list(_real(path) if path else _simulated())
    step = max(len(goods) // bench.arguments.items, 1)
    chosen = goods[::step][: bench.arguments.items]
    counts: Counter[str] = Counter()
    store = Storefront("Harbour", chosen[0][0]["currency"], "https://harbour.example/p/{item}", "Asia/Shanghai", Market(prices="EU"))
    lines = [HEAD if path is None else f"# {path.name}: {len(goods):,} items with a price\n"]
    for locale, name in (("en", "English"), ("zh-CN", "Chinese")):
        lines.append(f"## {name}\n")
        for row, proof in chosen:
            lines += _item(row, proof, store, locale, counts)
        lines += _stream([row for row, _ in chosen], store, locale)
    page = "\n".join(lines).rstrip("\n") + "\n"
    if path is None and not bench.quick:
        PAGE.write_text(page, encoding="utf-8")
        print(f"written: {PAGE.relative_to(ROOT)}")
    else:
        print(page)
    for why, times in counts.most_common(8):
        print(f"  {times:>6,}  {why}")
    _whole(bench, goods, store)
    bench.finish()


def _item(row: dict[str, Any], proof: Proof | None, store: Storefront, locale: str, counts: Counter[str]) -> Iterator[str]:
    """The texts of one item: every format, each with the next offer in turn."""
    guard = Guard()
    yield f"### {row.get('title_zh') if locale == 'zh-CN' and row.get('title_zh') else row.get('title_en') or row['title']}\n"
    for place, form in enumerate(FORMATS):
        offer = OFFERS[(place + len(row["item"]) + sum(map(ord, row["item"]))) % len(OFFERS)]
        if form == "coupon" and offer is None:
            offer = OFFERS[1]
        text = write(
            Brief(f"{row['item']}|{form}", form, locale, Reason("category")),
            facts=_facts(row, offer, store, locale, proof), seed=7, at=NOW, guard=guard,
        )  # fmt: skip
        counts[text.withheld or "written"] += 1
        parts = {name: value for name, value in text.parts.items() if name not in ("html", "link")}
        yield f"**{form}**" + (f" ({offer.kind})" if offer else "") + "\n"
        yield (
            "\n".join(f"> {name}: {line}  " for name, value in parts.items() for line in value.split("\n") if line) or f"> {text.withheld}"
        )
        yield ""


def _facts(row: dict[str, Any], offer: Offer | None, store: Storefront, locale: str, proof: Proof | None, at: datetime = NOW) -> Facts:
    zone = "Asia/Shanghai" if locale == "zh-CN" else "Europe/London"
    law = "CN" if locale == "zh-CN" else "EU"
    mine = replace(store, currency=row["currency"], market=Market(prices=law))
    return gather(row, offer=offer, store=mine, locale=locale, zone=zone, at=at, proof=proof, history=row.get("history"))


def _stream(rows: list[dict[str, Any]], store: Storefront, locale: str) -> Iterator[str]:
    """The first minutes of a live stream."""
    yield "### The script of a live stream of six minutes\n"
    by_name = {row["item"]: row for row in rows}

    def told(item: str | None, at: datetime) -> tuple[Facts, Any, Offer | None]:
        row = by_name.get(item or "")
        offer = OFFERS[1] if row is not None and row is rows[0] else None
        known = (
            gather(None, offer=None, store=store, locale=locale, zone=None, at=at)
            if row is None
            else _facts(row, offer, store, locale, None, at)
        )
        return known, row, offer

    lots = [Lot(row["item"], float(len(rows) - place), ends=place == 0) for place, row in enumerate(rows)]
    lines = perform(lots, minutes=6, start=NOW, facts=told, zone="Asia/Shanghai", seed=7)
    for line in lines:
        minute, second = divmod(line.segment.start, 60)
        yield f"> {minute:02d}:{second:02d} {line.segment.kind}: {line.speech or line.withheld}  "
    yield f">\n> {lines[0].label}\n"


def _whole(bench: Harness, goods: Goods, store: Storefront) -> None:
    """Write one text per item and format over the whole catalogue: how many stand, and how alike they are."""
    guard, said, none = Guard(), Counter[str](), Counter[str]()
    for number, (row, proof) in enumerate(goods[: 200 if bench.quick else 2_000]):
        form, locale = FORMATS[number % len(FORMATS)], ("en", "zh-CN")[number // len(FORMATS) % 2]
        offer = OFFERS[number // 2 % len(OFFERS)] or (OFFERS[1] if form == "coupon" else None)
        if unsellable(row, offer, send_at=NOW):
            continue
        text = write(Brief(str(number), form, locale), facts=_facts(row, offer, store, locale, proof), seed=7, at=NOW, guard=guard)
        if text.withheld or text.draft is None:
            none[text.withheld.partition(" (")[0] if text.withheld else ""] += 1
        else:
            said["|".join(text.draft.components)] += 1
    bench.figure("texts", sum(said.values()))
    bench.figure("withheld", sum(none.values()))
    bench.figure("distinct_wordings", len(said) / max(sum(said.values()), 1))
    for why, times in none.most_common(8):
        print(f"  {times:>6,}  withheld: {why}")


# ------------------------------------------------------------------------------------------------------------ goods
def _simulated() -> Iterator[tuple[dict[str, Any], Proof | None]]:
    from tradewind.simulate.catalogue import describe, make

    catalogue = make(7, items=60, leaves=12, weeks=30)
    for row, name in enumerate(catalogue.ids()):
        price = int(catalogue.price[row])
        start, reduced = NOW - timedelta(days=90), NOW - timedelta(days=3)
        quotes = (Quote(start, reduced, price * 5 // 4), Quote(reduced, NOW, price)) if row % 4 == 0 else ()
        sales = (Sale(reduced - timedelta(days=2), price * 6 // 5, price * 5 // 4),)
        told = {
            "item": name, "title": None, "price": price, "currency": "CNY", "stock": (4, 60)[row % 3 > 0],
            "history": History("CNY", quotes, sales) if quotes else None, **describe(catalogue, row),
        }  # fmt: skip
        yield told, Proof(Decimal("4.6"), 37 + row) if row % 2 else None


def _real(path: Path) -> Iterator[tuple[dict[str, Any], Proof | None]]:
    files = [path] if path.is_file() else sorted(path.glob("*.csv"))
    if (path / "products.parquet").is_file():
        yield from _grocer(path)
        return
    if not files:
        raise SystemExit(f"left out: {path} holds neither products.parquet nor CSV files of products.")
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                made = _product(row, f"{file.stem}-{number}")
                if made is not None:
                    yield made


def _product(row: dict[str, str], name: str) -> tuple[dict[str, Any], Proof | None] | None:
    title, currency = row.get("title") or row.get("product_name"), row.get("currency")
    digits = data("locales")["minor_digits"].get(currency)
    try:
        price = int(Decimal(row["final_price"].replace(",", "")) * 10 ** (digits or 0))
        proof = Proof(Decimal(row.get("rating") or "0"), int(row.get("reviews") or row.get("reviews_count") or 0))
    except (InvalidOperation, ValueError):
        return None
    if not title or digits is None or price <= 0:
        return None
    crumbs = json.loads(row["breadcrumb"]) if row.get("breadcrumb", "").startswith("[") else [row.get("category") or ""]
    return {
        "item": name, "title": title, "title_en": None, "title_zh": None, "category": str(crumbs[-1]) if crumbs else None,
        "brand": row.get("brand"), "price": price, "currency": currency, "stock": 0 if row.get("in_stock") == "false" else None,
        "attributes": json.dumps({"colour": row["color"]}) if row.get("color") else None,
    }, proof  # fmt: skip


def _grocer(folder: Path) -> Iterator[tuple[dict[str, Any], Proof | None]]:
    import duckdb

    rows = duckdb.sql(
        f"""SELECT p.product_id, any_value(p.product_type), any_value(p.product_category), any_value(p.package_size),
        CAST(round(100 * median((t.sales_value + t.retail_disc) / t.quantity)) AS BIGINT)
        FROM '{folder}/products.parquet' p JOIN '{folder}/transactions.parquet' t USING (product_id)
        WHERE t.quantity > 0 AND t.sales_value > 0 AND p.product_type IS NOT NULL GROUP BY p.product_id ORDER BY p.product_id"""
    ).fetchall()
    for product, kind, category, size, price in rows:
        attributes = json.dumps({"size": size.strip()}) if size and size.strip() else None
        yield {
            "item": product, "title": kind, "title_en": None, "title_zh": None, "category": category, "brand": None, "price": price,
            "currency": "USD", "stock": None, "attributes": attributes,
        }, None  # fmt: skip


if __name__ == "__main__":
    main()
