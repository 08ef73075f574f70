"""Who switched personalisation off is decided without a profile: what is not in the request cannot be used, logged or learned from.

The same decision answers, with the arm that is not personal: the shop's averages and what is popular, drawn and logged like any other
(PIPL, art. 24; GDPR, art. 21 and 22). What protects a person or the shop stays: the zone of the quiet hours, how many messages came
already, and the marks against abuse.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import pyarrow as pa
import pyarrow.compute as pc

OFF = "personalisation_off"  # of eligibility.EXPLAIN
PROFILE = "profile"  # what the log of a decision says was not considered
KEPT = frozenset({"customer", "household", "zone", "locale", "messages_30d", "last_message_at", "blocked", "risk", "ring", "promotion"})


def forgotten(profiles: pa.Table, shortlist: pa.Table | None, impersonal: AbstractSet[str]) -> dict[str, pa.Table | None]:
    """Both tables without what they tell of ``impersonal`` customers: columns other than ``KEPT`` are empty, and listed rows are gone."""
    theirs = _inside(profiles, impersonal)
    if theirs is not None:
        for at, name in enumerate(profiles.column_names):
            if name not in KEPT:
                column = profiles[name].combine_chunks()
                profiles = profiles.set_column(at, profiles.schema.field(at), pc.if_else(theirs, pa.scalar(None, column.type), column))
    listed = None if shortlist is None else _inside(shortlist, impersonal)
    return {"profiles": profiles, "shortlist": shortlist if shortlist is None or listed is None else shortlist.filter(pc.invert(listed))}


def _inside(table: pa.Table, names: AbstractSet[str]) -> pa.Array | None:
    """Which rows are of these customers; None: no row, or a table that a later check refuses."""
    if "customer" not in table.column_names:
        return None
    found = [name in names for name in table["customer"].to_pylist()]
    return pa.array(found) if any(found) else None
