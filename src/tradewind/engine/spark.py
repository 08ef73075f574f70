"""A local Apache Spark for tables that no longer fit one process: optional, found by ``spark://`` in the shop's URL."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tradewind.errors import InputError

_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.caseSensitive": "true",
}


def backend() -> tuple[Any, Any]:
    """The Ibis backend and its SparkSession: the active session, else a local one that uses every core.

    Raises
    ------
    InputError
        PySpark is not installed.
    """
    import ibis

    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise InputError('Apache Spark needs PySpark and Java 17: pip install "tradewind[spark]"') from error
    session = SparkSession.getActiveSession()
    if session is None:
        builder = SparkSession.builder.appName("tradewind")
        for key, value in _SETTINGS.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
    if session.conf.get("spark.sql.session.timeZone") != "UTC":
        session.conf.set("spark.sql.session.timeZone", "UTC")
    return ibis.pyspark.connect(session), session


def struct(schema: pa.Schema) -> Any:
    """The Spark type of a table's rows, so that reading infers nothing."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)
