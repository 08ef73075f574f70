"""Small sets of impressions with known answers, and a program that fits under torchrun: ``python ranker_worlds.py OUT``."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind.learn.ranker import Ranker
from tradewind.learn.sequences import Sequences
from tradewind.types import from_micros

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 20_000 * DAY
END = from_micros(START + 30 * DAY)
SHELVES = {f"{shelf}{n}": shelf for shelf in "abc" for n in range(4)}
ITEMS = list(SHELVES)


def table(at: Any, customer: Any, item: Any, position: Any, click: Any, **more: Any) -> pa.Table:
    time = pa.timestamp("us", tz="UTC")
    columns = {
        "at": pa.array(np.asarray(at, np.int64), time),
        "customer": pa.array(customer, pa.string()),
        "item": pa.array(item, pa.string()),
        "position": pa.array(np.asarray(position, np.int64)),
        "click": pa.array(np.asarray(click, np.int8)),
    }
    if "converted_at" in more:
        more["converted_at"] = pa.array(more["converted_at"], pa.int64()).cast(time)
    return pa.table(columns | more)


def matching(*, people: int = 300, rounds: int = 12, seed: int = 0, high: float = 0.6, low: float = 0.05) -> tuple[pa.Table, Sequences]:
    """Customers looked at one item of each of two shelves; items of the shelf seen *last* are clicked with ``high``, others ``low``."""
    rng = np.random.default_rng(seed)
    last = rng.integers(0, 3, people)
    other = (last + rng.integers(1, 3, people)) % 3
    names = [f"p{n:03d}" for n in range(people)]
    owner, item, at = [], [], []
    for n, (old, new) in enumerate(zip(other, last, strict=True)):
        owner += [names[n]] * 2
        item += ["abc"[old] + str(rng.integers(4)), "abc"[new] + str(rng.integers(4))]
        at += [START - 2 * DAY, START - DAY]
    who = np.tile(np.arange(people), rounds)
    shown = rng.integers(0, len(ITEMS), len(who))
    match = shown // 4 == last[who]
    click = rng.random(len(who)) < np.where(match, high, low)
    when = START + np.sort(rng.integers(0, 30 * 24, len(who))) * HOUR
    log = Sequences.from_arrays(owner, item=item, at=at, kind="view", categories=SHELVES, items=ITEMS)
    return table(when, [names[n] for n in who], [ITEMS[n] for n in shown], np.ones(len(who)), click), log


def complements(*, people: int = 300, rounds: int = 20, seed: int = 0) -> tuple[pa.Table, Sequences]:
    """Four events on shelf f and, somewhere among them, one on a or b; who had a clicks on c (60 %), who had b on d; else 5 %.

    No count of "same item" or "same category" tells: only the one event does.
    """
    rng = np.random.default_rng(seed)
    shelves = {f"{shelf}{n}": shelf for shelf in "abcdf" for n in range(3)}
    names = [f"p{n:03d}" for n in range(people)]
    telling = rng.choice(["a", "b"], people)
    owner, item, at = [], [], []
    for name, told in zip(names, telling, strict=True):
        events = [f"f{n}" for n in rng.integers(0, 3, 4)]
        events.insert(int(rng.integers(5)), f"{told}{rng.integers(3)}")
        owner += [name] * 5
        item += events
        at += [START - (5 - n) * DAY for n in range(5)]
    who = np.tile(np.arange(people), rounds)
    shown = rng.choice(["c", "d"], len(who))
    match = (shown == "c") == (telling[who] == "a")
    click = rng.random(len(who)) < np.where(match, 0.6, 0.05)
    when = START + np.sort(rng.integers(0, 30 * 24, len(who))) * HOUR
    log = Sequences.from_arrays(owner, item=item, at=at, kind="view", categories=shelves, items=list(shelves))
    items = [f"{shelf}{n}" for shelf, n in zip(shown, rng.integers(0, 3, len(who)), strict=True)]
    return table(when, [names[n] for n in who], items, np.ones(len(who)), click), log


def placed(*, rows: int = 24_000, seed: int = 0) -> tuple[pa.Table, Sequences]:
    """``dull`` (liked by 10 %) stands on place 1 in 9 of 10 lists, ``fine`` (25 %) on place 4, which is looked at a quarter as often."""
    rng = np.random.default_rng(seed)
    swapped = rng.random(rows) < 0.1
    item = np.where(rng.random(rows) < 0.5, "dull", "fine")
    position = np.where((item == "dull") != swapped, 1, 4)
    liked = np.where(item == "dull", 0.1, 0.25)
    click = rng.random(rows) < liked * np.where(position == 1, 1.0, 0.25)
    when = START + np.sort(rng.integers(0, 30 * 24 * 60, rows)) * 60_000_000
    names = [f"p{n:03d}" for n in rng.integers(0, 200, rows)]
    log = Sequences.from_arrays(["p000"], item=["dull"], at=[START - DAY], kind="view", items=["dull", "fine"])
    return table(when, names, item.tolist(), position, click), log


def funnel(*, rows: int = 8_000, seed: int = 0, days: float = 5.0) -> tuple[pa.Table, Sequences]:
    """30 % click whatever it is, 40 % of these buy, after an exponential delay of two days on average, seven at most."""
    rng = np.random.default_rng(seed)
    at = START + np.sort(rng.integers(int((30 - days) * 24 * 60), 30 * 24 * 60, rows)) * 60_000_000
    click = rng.random(rows) < 0.3
    bought = click & (rng.random(rows) < 0.4)
    delay = -np.log1p(-rng.random(rows) * (1 - np.exp(-3.5))) * 2 * DAY
    when = [int(t) if yes else None for t, yes in zip(at + delay.astype(np.int64), bought, strict=True)]
    names = [f"p{n:03d}" for n in rng.integers(0, 200, rows)]
    items = rng.choice(["a0", "b0"], rows).tolist()
    log = Sequences.from_arrays(["p000"], item=["a0"], at=[START - DAY], kind="view", items=["a0", "b0"])
    shown = table(at, names, items, np.ones(rows), click, conversion=bought.astype(np.int8), converted_at=when)
    return shown, log


def later(shown: pa.Table, days: float) -> pa.Table:
    """The same rows, conversions included, so many days later."""
    for name in {"at", "converted_at"} & set(shown.column_names):
        moved = pa.compute.add(shown[name].cast(pa.int64()), round(days * DAY)).cast(pa.timestamp("us", tz="UTC"))
        shown = shown.set_column(shown.column_names.index(name), name, moved)
    return shown


def main() -> None:
    shown, log = matching(people=60, rounds=10)
    shown = shown.append_column("conversion", shown["click"])
    model = Ranker(size="tiny", epochs=2, rate=0.01, dropout=0.0, seed=3)
    model.fit(shown, log, as_of=END + timedelta(hours=1))
    _, arrays = model._model_state()
    np.savez(f"{sys.argv[1]}.{os.environ.get('RANK', '0')}.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    assert Path(sys.argv[1]).parent.is_dir()
    main()
