"""The files that a real shop would export; nothing in them tells what only the simulation knows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tradewind import schema
from tradewind.params import Number, check
from tradewind.simulate import catalogue as stock
from tradewind.simulate import deals, dirt, history, people, rng, segment
from tradewind.simulate.people import CHANNELS, LOCALES, People
from tradewind.simulate.season import ZONES
from tradewind.simulate.world import World

LINES_UP_TO = 20_000  # customers; larger worlds export events as Parquet


@dataclass(frozen=True)
class Written:
    """What was written: files, rows per table (of events: the true ones), and how many faulty rows were added per kind."""

    folder: Path
    files: tuple[Path, ...]
    rows: Mapping[str, int]
    dirt: Mapping[str, int]


def write(world: World, folder: Path, *, dirt: float = 0.0) -> Written:
    """Export the world's history into ``folder`` (made when missing) at bounded memory.

    events.jsonl (Segment track calls) up to 20,000 customers, else events/*.parquet with the columns of ``schema.EVENTS``;
    items.csv, customers.csv, contacts.csv, consents.csv, offers.json (one object per line), and mapping.toml for ``collect``.
    ``dirt``: faulty rows added, as a share of the events (0-0.5). What only the simulation knows is not here: :func:`write_truth`.

    Raises
    ------
    InputError
        ``dirt`` is out of its bounds.
    """
    check("World.write", {"dirt": dirt}, {"dirt": Number(0, 0.5)})
    folder.mkdir(parents=True, exist_ok=True)
    lines = world.customers <= LINES_UP_TO
    files, count, faults = (_write_lines if lines else _write_parquet)(world, folder, dirt)
    rows = {"events": count, "items": _write_csv(folder / "items.csv", iter([_items(world)]))}
    for name, make in (("customers", _customers), ("contacts", _contacts), ("consents", _consents)):
        rows[name] = _write_csv(folder / f"{name}.csv", _by_chunk(world, make))
    offers = [offer | {"terms": json.dumps(offer["terms"])} for offer in deals.standard()]
    text = "".join(json.dumps(offer, ensure_ascii=False) + "\n" for offer in offers)
    (folder / "offers.json").write_text(text, encoding="utf-8")
    (folder / "mapping.toml").write_text(_mapping(lines), encoding="utf-8")
    names = ("items.csv", "customers.csv", "contacts.csv", "consents.csv", "offers.json", "mapping.toml")
    return Written(folder, (*files, *(folder / name for name in names)), rows | {"offers": len(offers)}, faults)


def write_truth(world: World, folder: str | Path) -> tuple[Path, Path]:
    """Write what only the simulation knows: customers.parquet (latent values per customer) and world.json.

    Keep ``folder`` away from what is collected: no model may ever read it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "customers.parquet"
    tables = _by_chunk(world, lambda _, chunk: pa.table({"customer": chunk.ids, **people.latents(chunk)}))
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as out:
        out.write_table(first)
        for table in tables:
            out.write_table(table)
    world.save(folder / "world.json")
    return path, folder / "world.json"


def events_of(world: World, chunk: int) -> pa.Table:
    """All true events of one chunk of customers in order of time: a table of ``schema.EVENTS``."""
    table = pa.concat_tables(list(history.events(world, chunk)))
    return table.sort_by([("at", "ascending"), ("id", "ascending")])


def _spoilt(world: World, chunk: int, share: float, faults: Counter[str]) -> tuple[pa.Table, int]:
    table = events_of(world, chunk)
    count = table.num_rows
    table, found = dirt.spoil(table, share, rng.stream(world.seed, rng.DIRT, chunk))
    faults.update(found)
    return table.sort_by([("at", "ascending"), ("id", "ascending")]) if share else table, count


def _write_lines(world: World, folder: Path, share: float) -> tuple[list[Path], int, dict[str, int]]:
    path = folder / "events.jsonl"
    faults: Counter[str] = Counter(dict.fromkeys(dirt.KINDS, 0))
    made = [_spoilt(world, chunk, share, faults) for chunk in world.chunks]
    table = pa.concat_tables([rows for rows, _ in made])
    table = table.sort_by([("at", "ascending"), ("id", "ascending")])
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{line}\n" for line in segment.lines(table))
    return [path], sum(count for _, count in made), dict(faults)


def _write_parquet(world: World, folder: Path, share: float) -> tuple[list[Path], int, dict[str, int]]:
    (folder / "events").mkdir(exist_ok=True)
    faults: Counter[str] = Counter(dict.fromkeys(dirt.KINDS, 0))
    files, total = [], 0
    for chunk in world.chunks:
        table, count = _spoilt(world, chunk, share, faults)
        files.append(folder / "events" / f"part-{chunk:05d}.parquet")
        pq.write_table(table, files[-1], compression="zstd")
        total += count
    return files, total, dict(faults)


def _write_csv(path: Path, tables: Iterator[pa.Table]) -> int:
    first = next(tables)
    with pa_csv.CSVWriter(path, first.schema) as out:
        out.write_table(first)
        count = int(first.num_rows)
        for table in tables:
            out.write_table(table)
            count += int(table.num_rows)
    return count


def _by_chunk(world: World, make: Callable[[World, People], pa.Table]) -> Iterator[pa.Table]:
    for chunk in world.chunks:
        yield make(world, world.people(chunk))


def _items(world: World) -> pa.Table:
    items = world.catalogue
    texts = [stock.describe(items, row) for row in range(len(items))]
    last = int((world.days - 1) // 7)

    def moment(week: int) -> str | None:
        return None if week < 0 or week >= stock.FOREVER else _iso(world.began + timedelta(days=7 * week))

    columns = {
        "item": items.ids(),
        **{name: [text[name] for text in texts] for name in ("title_zh", "title_en", "description_zh", "description_en")},
        **{name: [text[name] for text in texts] for name in ("category", "brand", "attributes")},
        "price": [f"{value / 100:.2f}" for value in items.price],
        "cost": [f"{value / 100:.2f}" for value in items.cost],
        "currency": ["CNY"] * len(items),
        "stock": items.stock(last),
        "available_from": [moment(int(week)) for week in items.since],
        "available_until": [moment(int(week)) for week in items.until],
    }
    return pa.table({name: pa.array(values, pa.int64() if name == "stock" else pa.string()) for name, values in columns.items()})


def _customers(world: World, chunk: People) -> pa.Table:
    return pa.table(
        {
            "customer": chunk.ids,
            "locale": pa.array([LOCALES[number] for number in chunk.locale]),
            "zone": pa.array([ZONES[number] for number in chunk.zone]),
            "signed_up_at": pa.array([_iso(world.began + timedelta(seconds=round(day * 86_400))) for day in chunk.signup]),
            "household": pa.array([f"A{number:07d}" for number in chunk.house]),  # the address that orders are shipped to
        }
    )


def _contacts(_: World, chunk: People) -> pa.Table:
    """Addresses that can reach nobody: example.com (RFC 2606) and Chinese numbers beginning 100, which no mobile has."""
    row, channel = np.nonzero(chunk.reach)
    number = chunk.first + row
    forms = (
        [f"c{value:07d}@example.com" for value in number],
        [f"+86100{value:08d}" for value in number],
        [f"push-token-{value * 2_654_435_761 % 2**32:08x}" for value in number],
        [f"C{value:07d}" for value in number],
    )
    return pa.table(
        {
            "customer": pa.array([f"C{value:07d}" for value in number]),
            "channel": pa.array([CHANNELS[value] for value in channel]),
            "address": pa.array([forms[value][place] for place, value in enumerate(channel)]),
        }
    )


def _consents(world: World, chunk: People) -> pa.Table:
    row, channel = np.nonzero(chunk.reach)
    return pa.table(
        {
            "customer": pa.array([f"C{chunk.first + value:07d}" for value in row]),
            "channel": pa.array([CHANNELS[value] for value in channel]),
            "granted": pa.array(chunk.consent[row, channel]),
            "at": pa.array([_iso(world.began + timedelta(seconds=round(chunk.signup[value] * 86_400))) for value in row]),
            "source": pa.repeat(pa.scalar("sign-up form"), len(row)),
        }
    )


def _mapping(lines: bool) -> str:
    """The mapping file that ``collect`` reads beside the export."""
    blocks = ['tradewind = 1\nname = "Simulated shop"\ncurrency = "CNY"\nzone = "UTC"\nsimulated = true\n']
    if lines:
        blocks.append('[[source]]\nname = "events"\nfiles = "events.jsonl"\ninto = "events"\n')
    else:
        blocks.append(_source("events", "events/*.parquet", schema.EVENTS.names, money="minor"))
    items = [name for name in schema.ITEMS.names if name != "title"]
    people_columns = ["customer", "locale", "zone", "signed_up_at", "household"]
    offers = ["offer", "kind", "terms", "title_zh", "title_en"]
    for name, file, columns in (
        ("items", "items.csv", items),
        ("customers", "customers.csv", people_columns),
        ("contacts", "contacts.csv", schema.CONTACTS.names),
        ("consents", "consents.csv", schema.CONSENTS.names),
        ("offers", "offers.json", offers),
    ):
        blocks.append(_source(name, file, columns))
    return "\n".join(blocks)


def _source(name: str, files: str, columns: list[str], *, money: str = "major") -> str:
    table = "\n".join(f'{column} = "{column}"' for column in columns)
    unit = f'money = "{money}"\n' if money != "major" else ""
    return f'[[source]]\nname = "{name}"\nfiles = "{files}"\ninto = "{name}"\n{unit}\n[source.columns]\n{table}\n'


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
