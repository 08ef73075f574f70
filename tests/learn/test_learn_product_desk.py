"""The desk of products: read, wait, confirm, and only then a fact; by the shop and by the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import tradewind as tw
from tradewind.cli import app
from tradewind.compose.facts import Storefront, gather
from tradewind.compose.material import catalogue
from tradewind.engine import audit
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn._content_catalogue import pictures
from tradewind.learn.product_queue import completed, enter
from tradewind.learn.product_text import Evidence, Proposal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW = ("new", "Acme red mug large", None, None, None)


def stock(path: Path, *, new: tuple[str | None, ...] = NEW) -> Path:
    """Twelve items that state all, one that states nothing, one that was entered twice."""
    told: list[tuple[str | None, ...]] = [(f"s{n}", f"Acme red mug {n}x", "Kitchen > Mugs", "Acme", "red") for n in range(6)]
    told += [(f"l{n}", f"Borea lamp {n}y", "Light", "Borea", "white") for n in range(6)]
    told += [("twice", "ACME Red Mug 5x!", "Kitchen > Mugs", "Acme", "red"), new]
    names = ("item", "title", "category", "brand", "attributes")
    rows = [(*row[:4], json.dumps({"color": row[4]} if row[4] else {})) for row in told]
    pq.write_table(pa.table({name: [row[n] for row in rows] for n, name in enumerate(names)}), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tw.Shop.open(tmp_path / "shop", now=lambda: NOW) as shop:
        shop.collect(stock(tmp_path / "items.parquet"))
    return tmp_path / "shop"


def opened(folder: Path, *, later: int = 0) -> tw.Shop:
    return tw.Shop.open(folder, now=lambda: NOW + timedelta(minutes=later))


def item_of(shop: tw.Shop, name: str) -> dict[str, Any]:
    tables = shop.home.tables
    found: list[dict[str, Any]] = tables.to_arrow(tables.get("items").filter(tables.get("items").item == name)).to_pylist()
    return completed(shop.home, found)[0]


def facts_of(shop: tw.Shop, name: str) -> dict[str, tuple[str, str]]:
    found = gather(item_of(shop, name), offer=None, store=Storefront("Harbour"), locale="en", zone=None, at=NOW)
    return {fact.name: (fact.text, fact.source) for fact in found.facts.values()}


def test_a_proposal_is_no_fact_until_somebody_confirms_it(folder: Path) -> None:
    with opened(folder) as shop:
        report = shop.products.attributes()
        assert report.sections[0].text[-1].startswith("14 items read")
        waiting = {each.attribute: each for each in shop.products.waiting(item="new")}
        assert {name: each.value for name, each in waiting.items()} == {"colour": "red", "brand": "acme", "category": "Kitchen > Mugs"}
        (told,) = waiting["colour"].evidence
        assert (told["field"], told["words"], told["start"], told["end"]) == ("title", "red", 5, 8)
        assert {each.item for each in shop.products.waiting()} == {"new"}, "what the catalogue states is not proposed"
        assert not {"feature", "brand", "category"} & set(facts_of(shop, "new"))
        assert shop.products.confirm([("new", "colour", "red"), ("new", "brand", "acme")], by="Ada") == 2
        found = facts_of(shop, "new")
        assert found["feature"] == ("Colour: red", "confirmed.colour")
        assert found["brand"] == ("Acme", "confirmed.brand")
        assert "category" not in found
        assert facts_of(shop, "s1")["brand"] == ("Acme", "items.brand")
        with shop.home.ledger.read() as conn:
            notes = audit.entries(conn, subject="item:new")
        assert [(each.actor, each.action, each.detail["attribute"]) for each in notes][-1] == ("person:Ada", "product.confirm", "colour")


def test_reading_again_keeps_decisions_and_drops_what_is_no_longer_said(folder: Path, tmp_path: Path) -> None:
    with opened(folder) as shop:
        shop.products.attributes()
        shop.products.reject([("new", "category", "Kitchen > Mugs")], by="Ada")
        shop.products.confirm([("new", "colour", "red")], by="Ada")
        before = {each.attribute for each in shop.products.waiting()}
        assert "0 of them new" in shop.products.attributes().sections[0].text[-1]
        assert {each.attribute for each in shop.products.waiting()} == before
    with opened(folder, later=5) as shop:
        shop.collect(stock(tmp_path / "items.parquet", new=("new", "Thing", None, None, "blue")))
        shop.products.attributes()
        assert shop.products.waiting() == []
        assert [(each.attribute, each.decided_by) for each in shop.products.confirmed()] == [("colour", "Ada")]
        assert facts_of(shop, "new")["feature"][0] == "Color: blue", "what the catalogue states wins"


def test_two_values_are_never_both_claimed(folder: Path) -> None:
    def proposal(value: str, source: str) -> Proposal:
        return Proposal("new", "colour", value, 0.7, source, Evidence("title", value), {"en": value})

    with opened(folder) as shop:
        enter(shop.home, [proposal("red", "text")], source="text", now=NOW)
        enter(shop.home, [proposal("red", "image"), proposal("blue", "image")], source="image", now=NOW)
        (red,) = (each for each in shop.products.waiting() if each.value == "red")
        assert [told["source"] for told in red.evidence] == ["image", "text"]
        shop.products.confirm([("new", "colour", "red")], by="Ada")
        with pytest.raises(StateError, match='confirmed as "red" already'):
            shop.products.confirm([("new", "colour", "blue")], by="Ada")
        assert shop.products.reject([("new", "colour", "red")], by="Ada") == 1
        assert shop.products.confirm([("new", "colour", "blue")], by="Ada") == 1
        enter(shop.home, [], source="image", now=NOW)
        assert [each.value for each in shop.products.confirmed()] == ["blue"]


def test_what_cannot_be_decided(folder: Path) -> None:
    with opened(folder) as shop:
        shop.products.attributes()
        with pytest.raises(InputError, match="--by NAME"):
            shop.products.confirm([("new", "colour", "red")], by=" ")
        with pytest.raises(NotFound, match="Proposed are: red"):
            shop.products.confirm([("new", "colour", "green")], by="Ada")
        with pytest.raises(NotFound, match="Nothing of it is proposed"):
            shop.products.confirm([("new", "colour", "red"), ("nobody", "colour", "red")], by="Ada")
        assert shop.products.confirmed() == [], "all or nothing"


def test_what_is_confirmed_makes_written_texts_stale(folder: Path) -> None:
    with opened(folder) as shop:
        shop.products.attributes()
        marks = []
        for act in (None, shop.products.confirm, shop.products.reject):
            if act is not None:
                act([("new", "colour", "red")], by="Ada")
            with shop.home.ledger.read() as conn:
                marks.append(catalogue(conn))
        assert marks[0] == marks[2] != marks[1]


def test_titles_entered_twice(folder: Path) -> None:
    with opened(folder) as shop:
        rows = shop.products.duplicates().sections[0].rows
        loose = shop.products.duplicates(alike=0.4).sections[0].rows
    assert {(row["item"], row["other"]) for row in rows if row["kind"] == "duplicate"} == {("s5", "twice")}
    assert any(row["kind"] == "variant" and "number" in row["differs"] for row in loose)


def test_pictures_of_a_shop(folder: Path, tmp_path: Path) -> None:
    place = folder / "pictures"
    place.mkdir()
    rng = np.random.default_rng(0)
    for name, shade in {"s1": (200, 30, 40), "s2": (205, 35, 45), "new": (198, 28, 38), "l1": (250, 250, 250)}.items():
        pixels = np.clip(np.array(shade) + rng.integers(-9, 9, (40, 40, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{name}.png")
    (place / "s3.png").write_text("broken")
    with opened(folder) as shop:
        with pytest.raises(InputError, match="--folder PATH"):
            shop.products.images()
        with pytest.raises(InputError, match="There is no folder"):
            shop.products.images(folder=tmp_path / "none")
        report = shop.products.images(folder=place)
        assert report.sections[0].text[0].startswith("4 of 14 items have a picture that can be used; looked at by colour-histogram")
        assert report.sections[0].text[1] == "1 files are no picture that can be read."
        (made,) = shop.products.waiting()
        assert (made.item, made.attribute, made.value) == ("new", "colour", "red")
        assert made.evidence[0]["source"] == "image"
        assert set(pictures(shop.home.root)) == {"s1", "s2", "new", "l1"}


def test_an_empty_shop_says_what_to_do(tmp_path: Path) -> None:
    with tw.Shop.open(tmp_path / "empty") as shop, pytest.raises(InputError, match="no catalogue"):
        shop.products.attributes()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["products", *arguments])


def test_the_command_line(folder: Path) -> None:
    shop = ["--shop", str(folder)]
    assert "Waiting for confirmation" in run("attributes", *shop).stdout
    listed = json.loads(run("confirm", *shop, "--json").stdout)["waiting"]
    assert {row["item"] for row in listed} == {"new"}
    assert "red" in run("confirm", "new", *shop).stdout
    assert json.loads(run("confirm", "new", "--set", "colour=red", "--by", "Ada", *shop, "--json").stdout) == {"confirmed": 1}
    assert "1 confirmed" in run("confirm", "--all", "--attribute", "brand", "--least", "0.3", "--by", "Ada", *shop).stdout
    assert "1 rejected" in run("confirm", "new", "--set", "colour=red", "--reject", "--by", "Ada", *shop).stdout
    assert "duplicate" in run("duplicates", *shop).stdout
    for wrong, said in (
        (["confirm", "--all", "--by", "Ada"], "--all needs --attribute"),
        (["confirm", "--set", "colour=red"], "needs the item"),
        (["confirm", "new", "--set", "colour"], "ATTRIBUTE=VALUE"),
        (["confirm", "new", "--set", "colour=red", "--all"], "give one of the two"),
    ):
        assert said in str(run(*wrong, *shop).exception)
