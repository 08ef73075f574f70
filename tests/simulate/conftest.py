"""A small world of its own for the tests of the simulation, and a way to build contacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tradewind import schema
from tradewind.simulate.people import NAMES
from tradewind.simulate.world import World

Build = Callable[..., pa.Table]


@pytest.fixture(scope="session")
def world() -> World:
    return World.make(1_500, seed=5, start=date(2026, 1, 5), days=28)


@pytest.fixture(scope="session")
def contacts() -> Build:
    """Return a function: one message per number, at noon of ``day`` after the history."""

    def build(
        world: World, numbers: Sequence[int], *, terms: str = "", item: Any = None, channel: str = "email", day: float = 0.5
    ) -> pa.Table:
        count = len(numbers)
        items = item if isinstance(item, list) else [item] * count
        columns: dict[str, Any] = {
            "decision_id": [f"d{number}-{day}" for number in numbers],
            "customer": [f"C{number:07d}" for number in numbers],
            "offer": ["coupon" if terms else "recommend"] * count,
            "item": pa.array(items, pa.string()),
            "channel": [channel] * count,
            "send_at": pa.array([world.end + timedelta(days=day)] * count, schema.TIME),
            "offer_kind": ["coupon" if terms else "product"] * count,
            "terms": [terms or "{}"] * count,
        }
        return pa.table(columns)

    return build


def of_kind(world: World, *names: str) -> list[int]:
    """Numbers of the customers of archetypes (of a world of one chunk)."""
    return [int(row) for row in np.flatnonzero(np.isin(world.people(0).kind, [NAMES.index(name) for name in names]))]


@pytest.fixture(scope="session")
def kind_of() -> Callable[..., list[int]]:
    return of_kind
