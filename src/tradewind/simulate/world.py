"""The synthetic shop: a pure function of its size, seed, start, days and effects. Everything in it is simulated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tradewind.errors import InputError, unknown
from tradewind.params import Number, check
from tradewind.simulate import catalogue as stock
from tradewind.simulate import people as folk
from tradewind.simulate.catalogue import Catalogue
from tradewind.simulate.contacts import Past
from tradewind.simulate.people import CHUNK, People
from tradewind.simulate.shelf import Shelf
from tradewind.simulate.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.simulate.write import Written

SIZES = {  # customers, items, leaf categories
    "tiny": (300, 80, 8),
    "small": (4_000, 400, 16),
    "medium": (50_000, 1_200, 24),
    "large": (1_000_000, 2_400, 24),
}
FORMAT = 1


@dataclass(frozen=True)
class World:
    """A simulated shop. Make one with :meth:`make`; nothing in it changes, :meth:`after` returns the next state.

    ``effects`` scales what messages cause: 1 the world as documented, 0 the indifferent world in which no message causes
    or prevents an order (coupons are still used by people who would have bought anyway). ``copy`` scales how much the words of a
    message change who clicks it (:mod:`tradewind.simulate.wording`); 0 is the world to which all words are alike.
    """

    customers: int
    items: int
    leaves: int
    seed: int
    start: date
    days: int
    effects: float = 1.0
    copy: float = 0.0
    past: Past = field(default_factory=Past.empty, compare=False, repr=False)  # contacts since the end of the history

    @classmethod
    def make(cls, size: str | int, *, seed: int, start: date, days: int, effects: float = 1.0, copy: float = 0.0) -> World:
        """Return the world of ``size`` ("tiny", "small", "medium", "large" or a number of customers) with a history of ``days`` days.

        Raises
        ------
        InputError
            An unknown size, or a number out of its bounds.
        """
        if isinstance(size, str) and size not in SIZES:
            raise unknown("size of a simulated shop", size, SIZES)
        check(
            "World",
            {"seed": seed, "days": days, "effects": effects, "copy": copy},
            {"seed": Number(0, 2**40, whole=True), "days": Number(7, 3650, whole=True), "effects": Number(0, 2), "copy": Number(0, 5)},
        )
        if isinstance(size, str):
            customers, items, leaves = SIZES[size]
        else:
            check("World", {"size": size}, {"size": Number(2, 10**7, whole=True)})
            customers = size
            _, items, leaves = next((shape for shape in SIZES.values() if shape[0] >= size), SIZES["large"])
        return cls(customers, items, leaves, seed, start.date() if isinstance(start, datetime) else start, days, effects, copy)

    @property
    def began(self) -> datetime:
        """Midnight UTC of the first day of the history."""
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The end of the history, exclusive; the earliest sensible start of a window for ``respond``."""
        return self.began + timedelta(days=self.days)

    @property
    def catalogue(self) -> Catalogue:
        """The items."""
        return _catalogue(self.fresh())

    def fresh(self) -> World:
        """The same world at the end of its history: nobody was contacted since."""
        return replace(self, past=Past.empty())

    @property
    def chunks(self) -> range:
        """Numbers of the chunks of customers."""
        return range(-(-self.customers // CHUNK))

    def people(self, chunk: int) -> People:
        """The customers of one chunk; needs no other chunk."""
        return _people(self.fresh(), chunk)

    def window(self, start: datetime, days: int) -> Window:
        """A stretch of the world's time; the catalogue is the one of the week in which it starts.

        Raises
        ------
        InputError
            The start has no zone or lies before the history, or ``days`` is not 1-366.
        """
        check("window", {"days": days}, {"days": Number(1, 366, whole=True)})
        if start.tzinfo is None:
            raise InputError(f"start: {start.isoformat()} has no time zone. Add one, for example +00:00.")
        start = start.astimezone(UTC)
        if start < self.began:
            raise InputError(f"start: {start.isoformat()} is before this world's history, which begins {self.began.isoformat()}.")
        day = (start - self.began) / timedelta(days=1)
        return Window(start=start, day=day, days=days, shelf=_shelf(self.fresh(), int(day // 7)), seed=self.seed)

    def weeks(self) -> Iterator[Window]:
        """The windows of the history, a week each; the last may be shorter."""
        for day in range(0, self.days, 7):
            yield self.window(self.began + timedelta(days=day), min(7, self.days - day))

    def after(self, contacts: pa.Table) -> World:
        """Return the state after the delivered ``contacts`` (customer, send_at): they lower the answers to later ones."""
        from tradewind.simulate.respond import numbers

        hour = np.array([(at - self.began) / timedelta(hours=1) for at in contacts["send_at"].to_pylist()], dtype=np.float64)
        return replace(self, past=self.past.join(Past(numbers(self, contacts["customer"]), hour)))

    def respond(self, contacts: pa.Table, *, start: datetime, days: int, seed: int) -> pa.Table:
        """See :func:`tradewind.simulate.respond.respond`."""
        from tradewind.simulate.respond import respond

        return respond(self, contacts, start=start, days=days, seed=seed)

    def write(self, folder: str | Path, *, dirt: float = 0.0) -> Written:
        """See :func:`tradewind.simulate.write.write`."""
        from tradewind.simulate.write import write

        return write(self, Path(folder), dirt=dirt)

    def save(self, path: str | Path) -> None:
        """Write what the world is regenerated from as JSON: its parameters and the contacts since its history."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "simulated": True,
            "customers": self.customers,
            "items": self.items,
            "leaves": self.leaves,
            "seed": self.seed,
            "start": self.start.isoformat(),
            "days": self.days,
            "effects": self.effects,
            "copy": self.copy,
            "contacted": self.past.customer.tolist(),
            "contacted_hour": self.past.hour.tolist(),
        }
        Path(path).write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> World:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            The file is no world of a format that this version reads.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f'"{path}" is no saved world: {error}.') from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise InputError(f'"{path}" is no saved world of format {FORMAT}. Save it again with this version.')
        past = Past(np.array(values["contacted"], dtype=np.int64), np.array(values["contacted_hour"], dtype=np.float64))
        names = ("customers", "items", "leaves", "seed", "days", "effects")
        return cls(
            **{name: values[name] for name in names}, copy=values.get("copy", 0.0), start=date.fromisoformat(values["start"]), past=past
        )


@lru_cache(maxsize=2)
def _people(world: World, chunk: int) -> People:
    if chunk not in world.chunks:
        raise InputError(f"This world has chunks 0 to {len(world.chunks) - 1}; got {chunk}.")
    count = min(CHUNK, world.customers - chunk * CHUNK)
    return folk.make(world.seed, chunk, count=count, days=world.days, catalogue=_catalogue(world))


@lru_cache(maxsize=4)
def _catalogue(world: World) -> Catalogue:
    return stock.make(world.seed, items=world.items, leaves=world.leaves, weeks=-(-world.days // 7))


@lru_cache(maxsize=64)
def _shelf(world: World, week: int) -> Shelf:
    return Shelf(_catalogue(world), week)
