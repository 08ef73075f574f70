"""Parquet files, scanned where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.collect.sources.base import LINE_BITS, SUB_BITS, Part, line_sql, listed, refuse_empty
from tradewind.errors import InputError

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import SourceMap


class Parquet:
    """Parquet: a row's line is its number in the file, from 1. Files may lack columns that others have."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def open(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], *, source: SourceMap, scratch: Path) -> list[Part]:  # noqa: ARG002 - the contract
        """Check every file's footer; raises InputError for one that is no Parquet."""
        for path in files:
            refuse_empty(path)
            try:
                pq.read_schema(path)
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(
                    f'"{path.name}" is no readable Parquet file: {str(error).splitlines()[0].rstrip(".")}. Export it again.'
                ) from error
        sql = (
            f"SELECT *, (((file_index::BIGINT << {LINE_BITS}) + file_row_number + 1) << {SUB_BITS}) AS _pos "
            f"FROM read_parquet({listed(files)}, union_by_name = true, hive_partitioning = false)"
        )

        def among(wanted: str) -> str:
            # On the bare column, so that the reader skips; rows of the same number in other files come along.
            return f"{sql} WHERE file_row_number IN (SELECT {line_sql('_pos')} - 1 FROM ({wanted}))"

        return [Part(sql=sql, files=tuple(path.name for path in files), among=among)]


PLUGIN = Parquet()
