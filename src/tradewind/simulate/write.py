"""The files that a real shop would export; nothing in them tells what only the simulation knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tradewind.simulate.world import World


@dataclass(frozen=True)
class Written:
    """What was written: files, rows per table, and rows of dirt per kind (added beside the true rows)."""

    folder: Path
    files: tuple[Path, ...]
    rows: Mapping[str, int]
    dirt: Mapping[str, int] = field(default_factory=dict)


def write(world: World, folder: Path, *, dirt: float = 0.0) -> Written:
    """Write the world's export into ``folder`` (made when missing)."""
    import pyarrow.parquet as pq

    from tradewind.simulate import history

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "events.parquet"
    rows = 0
    from tradewind import schema

    with pq.ParquetWriter(path, schema.EVENTS) as out:
        for chunk in world.chunks:
            for table in history.events(world, chunk):
                out.write_table(table)
                rows += table.num_rows
    return Written(folder, (path,), {"events": rows}, {"none": int(dirt * 0)})
