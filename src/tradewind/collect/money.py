"""Minor units of currencies: how many digits ISO 4217 gives them after the point."""

from __future__ import annotations

_NONE = frozenset(["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"])
_THREE = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def minor_units(currency: str | None) -> int:
    """Minor units in one major unit: 1 for JPY, 1000 for KWD, 100 for the rest and where the currency is unknown."""
    if currency in _NONE:
        return 1
    return 1000 if currency in _THREE else 100


def minor_units_sql(column: str) -> str:
    """The same as a SQL expression over a column of currency codes."""
    none = ", ".join(f"'{code}'" for code in sorted(_NONE))
    three = ", ".join(f"'{code}'" for code in sorted(_THREE))
    return f"CASE WHEN {column} IN ({none}) THEN 1 WHEN {column} IN ({three}) THEN 1000 ELSE 100 END"
