"""The world: regenerated from its parameters, chunk by chunk, with the people and seasons that it promises."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tradewind.errors import InputError, NotFound
from tradewind.simulate import catalogue, season
from tradewind.simulate.people import CHUNK, NAMES
from tradewind.simulate.world import World
from tradewind.simulate.write import events_of

START = date(2026, 1, 5)


def test_a_world_is_a_function_of_its_parameters() -> None:
    first, again, other = (World.make("tiny", seed=seed, start=START, days=14) for seed in (1, 1, 2))
    assert events_of(first, 0).equals(events_of(again, 0))
    assert not events_of(first, 0).equals(events_of(other, 0))


def test_a_chunk_needs_no_other_chunk() -> None:
    large, larger = (World.make(count, seed=3, start=START, days=7) for count in (CHUNK + 40, CHUNK + 40 + CHUNK))
    alone = events_of(large, 1)
    assert larger.people(0).taste.tobytes() == large.people(0).taste.tobytes()
    events_of(large, 0)
    assert alone.equals(events_of(large, 1))
    customers = set(alone["customer"].drop_null().to_pylist())
    assert customers <= {f"C{number:07d}" for number in range(CHUNK, CHUNK + 40)}
    with pytest.raises(InputError, match="chunks 0 to 1"):
        large.people(2)


def test_event_ids_are_unique_across_chunks() -> None:
    world = World.make(CHUNK + 200, seed=3, start=START, days=7)
    ids = pa.concat_tables([events_of(world, chunk) for chunk in world.chunks])["id"]
    assert pc.count_distinct(ids).as_py() == len(ids)


def test_save_and_load(tmp_path: Path, world: World) -> None:
    told = world.after(pa.table({"customer": ["C0000003"], "send_at": [world.end + timedelta(hours=3)]}))
    told.save(tmp_path / "world.json")
    back = World.load(tmp_path / "world.json")
    assert back == told
    assert back.past.customer.tolist() == [3]
    assert back.past.hour.tolist() == [28 * 24 + 3]
    (tmp_path / "bad.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(InputError, match="no saved world"):
        World.load(tmp_path / "bad.json")


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(NotFound, match='Did you mean "small"'):
        World.make("smal", seed=1, start=START, days=30)
    with pytest.raises(InputError, match="days"):
        World.make("tiny", seed=1, start=START, days=3)
    with pytest.raises(InputError, match="effects"):
        World.make("tiny", seed=1, start=START, days=30, effects=-1)
    with pytest.raises(InputError, match="no time zone"):
        World.make("tiny", seed=1, start=START, days=30).window(datetime(2026, 3, 1), 14)  # noqa: DTZ001
    with pytest.raises(InputError, match="before this world's history"):
        World.make("tiny", seed=1, start=START, days=30).window(datetime(2025, 3, 1, tzinfo=UTC), 14)


def test_every_archetype_lives_here_and_rings_share_a_device(world: World) -> None:
    people = world.people(0)
    assert set(people.kind) == set(range(len(NAMES)))
    ring = people.kind == NAMES.index("ring")
    shared = np.bincount(people.device[ring])
    assert (shared[shared > 0] <= 8).all()
    assert (shared >= 3).sum() >= ring.sum() / 8
    assert len(set(people.device[~ring])) == (~ring).sum()
    assert (people.device[ring] == people.house[ring]).all()


def test_devices_of_rings_show_in_the_events(world: World) -> None:
    events = events_of(world, 0).filter(pc.field("kind") == "purchase")
    pairs = (
        pa.table({"customer": events["customer"], "context": events["context"]})
        .group_by("context")
        .aggregate([("customer", "count_distinct")])
    )
    crowded = pairs.filter(pc.field("customer_count_distinct") > 1)
    ring = {f"C{row:07d}" for row in np.flatnonzero(world.people(0).kind == NAMES.index("ring"))}
    members = set(events.filter(pc.is_in(events["context"], crowded["context"].combine_chunks()))["customer"].to_pylist())
    assert members
    assert members <= ring


def test_bots_view_fast_and_never_buy(world: World) -> None:
    events = events_of(world, 0)
    bots = pa.array([f"C{row:07d}" for row in np.flatnonzero(world.people(0).kind == NAMES.index("bot"))])
    theirs = events.filter(pc.is_in(events["customer"], bots))
    assert set(theirs["kind"].to_pylist()) & {"purchase", "cart"} == set()
    views = theirs.filter(pc.field("kind") == "view")
    longest = max(views.group_by("session").aggregate([("id", "count")])["id_count"].to_pylist())
    assert longest >= 40


def test_festivals_and_weekends_are_busier() -> None:
    assert season.demand(datetime(2026, 11, 11, tzinfo=UTC)) > 1.8 * season.demand(datetime(2026, 11, 25, tzinfo=UTC))
    assert season.demand(datetime(2026, 3, 7, tzinfo=UTC)) > 1.2 * season.demand(datetime(2026, 3, 4, tzinfo=UTC))


def test_the_festival_peak_shows_in_orders() -> None:
    world = World.make(3_000, seed=2, start=date(2026, 11, 2), days=28)
    events = events_of(world, 0).filter(pc.field("kind") == "purchase")
    days = np.bincount([(at - world.began).days for at in events["at"].to_pylist()], minlength=28)
    assert days[8:11].mean() > 1.5 * days[16:28].mean()


def test_the_catalogue_speaks_two_languages_and_earns(world: World) -> None:
    items = world.catalogue
    assert (items.cost < items.price).all()
    assert ((items.price - items.cost) / items.price).mean() == pytest.approx(0.31, abs=0.04)
    texts = [catalogue.describe(items, row) for row in range(len(items))]
    assert all(text["title_en"].isascii() for text in texts)
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text["title_zh"]) for text in texts)
    assert all(text["category"].count(" > ") == 2 for text in texts)
    assert not any("{" in text[name] for text in texts for name in ("title_zh", "title_en", "description_zh", "description_en"))
    assert (items.extras >= 0).any()
    late = np.flatnonzero(items.since > 1)
    assert not items.on_sale(0)[late].any()
    assert items.stock(0)[late].sum() == 0
    assert (items.on_sale(2) & ~items.on_sale(1)).any()
