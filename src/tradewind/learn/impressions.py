"""What customers were shown, whether they clicked and whether they bought: the table that response models learn from.

One row says: at ``at`` the ``customer`` saw ``item`` at ``position`` (1 is the first place) on ``channel``, ``click`` is 0 or 1,
``conversion`` is 0, 1 or null (not known). A shop's page or app logs it; for messages :func:`from_messages` reads it from the
event log, where each delivered message is a list of one.

``converted_at`` makes late conversions usable: whatever had not yet happened at the moment of learning is then treated as "not
yet" and not as "no" (see ``ranker``). ``request`` joins the rows of one shown list; without it a list is one customer, one
moment, one channel.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.errors import InputError, SchemaError, did_you_mean
from tradewind.schema import TEXT, TIME, Channel, Kind, conform

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

CANDIDATES = pa.schema(
    [
        pa.field("at", TIME, nullable=False),
        pa.field("customer", TEXT),  # null: nobody was recognised
        pa.field("item", TEXT, nullable=False),
        pa.field("position", pa.int64()),  # null: not in a list yet
        pa.field("channel", TEXT),
        pa.field("request", TEXT),
    ],
    metadata={"tradewind.table": "candidates"},
)
IMPRESSIONS = pa.schema(
    [
        pa.field("at", TIME, nullable=False),
        pa.field("customer", TEXT),
        pa.field("item", TEXT, nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("channel", TEXT),
        pa.field("request", TEXT),
        pa.field("click", pa.int8(), nullable=False),
        pa.field("conversion", pa.int8()),
        pa.field("converted_at", TIME),
    ],
    metadata={"tradewind.table": "impressions"},
)
CHANNELS = tuple(channel.value for channel in Channel)


def impressions(table: pa.Table) -> pa.Table:
    """The columns of ``IMPRESSIONS``, checked; columns that may be absent become nulls, booleans become 0 and 1.

    Raises
    ------
    SchemaError
        A column is missing, unknown or of another type.
    InputError
        There is no row; a position below 1; a click or conversion other than 0 or 1; a conversion without a click; a
        ``converted_at`` before the impression or without a conversion.
    """
    table = _numbers(_columns(table, IMPRESSIONS, "impressions"), ("click", "conversion"))
    table = conform(table, IMPRESSIONS)
    _places(table, "impressions")
    click, bought = table["click"], table["conversion"]
    for name in ("click", "conversion"):
        _none(pc.invert(pc.is_in(table[name], pa.array([0, 1, None], pa.int8()))), f"{name} must be 0 or 1", table)
    wild = pc.and_(pc.equal(click, 0), pc.fill_null(pc.equal(bought, 1), False))
    _none(wild, "conversion is 1 and click is 0; a conversion is a click that led to a purchase. Set click to 1, or conversion to 0", table)
    late = table["converted_at"]
    _none(pc.and_(pc.is_valid(late), pc.invert(pc.fill_null(pc.equal(bought, 1), False))), "converted_at needs conversion = 1", table)
    _none(pc.fill_null(pc.less(late, table["at"]), False), "converted_at lies before at", table)
    timed = pc.sum(pc.is_valid(late)).as_py()
    if timed and timed < pc.sum(pc.equal(bought, 1)).as_py():
        raise InputError(
            f"impressions: converted_at is given for {timed} of {pc.sum(pc.equal(bought, 1)).as_py()} conversions. "
            "Give it for all of them, or leave the column out."
        )
    return table


def candidates(table: pa.Table) -> pa.Table:
    """The columns of ``CANDIDATES`` of rows that are to be scored; labels that may be there are not looked at.

    Raises
    ------
    SchemaError
        ``at``, ``customer`` or ``item`` is missing, or a column is unknown or of another type.
    InputError
        A position below 1, or a channel that does not exist.
    """
    table = _columns(table, IMPRESSIONS, "candidates").drop_columns(
        [name for name in ("click", "conversion", "converted_at") if name in table.column_names]
    )
    if "customer" not in table.column_names:
        raise SchemaError('Table "candidates" needs the column "customer" (null where nobody was recognised).')
    table = conform(table, CANDIDATES)
    _places(table, "candidates")
    return table


def from_messages(tables: Tables, *, as_of: datetime, window: timedelta = timedelta(days=7), decisions: pa.Table | None = None) -> pa.Table:
    """Impressions from the event log before ``as_of``: every ``sent`` event about one item, at position 1 of its channel.

    A click is a ``click`` event of the same ``decision_id``; a conversion a ``purchase`` event of it within ``window`` of the
    message, after a click. ``decisions`` (``decision_id``, ``item``: a plan has both) names the item where the event does not.
    Messages about no item are left out.

    Raises
    ------
    InputError
        No message about an item was sent before ``as_of``.
    """
    events = tables.events(as_of=as_of)
    kinds = [Kind.SENT.value, Kind.CLICK.value, Kind.PURCHASE.value]
    events = events.filter(events.decision_id.notnull() & events.kind.isin(kinds))
    rows = tables.to_arrow(events.select("decision_id", "kind", "at", "customer", "item", "channel"))
    sent = rows.filter(pc.equal(rows["kind"], Kind.SENT.value)).sort_by([("decision_id", "ascending"), ("at", "ascending")])
    first = np.flatnonzero(np.asarray(_starts(sent["decision_id"].to_numpy(zero_copy_only=False))))
    sent = sent.take(first)
    item = sent["item"]
    if decisions is not None:
        item = pc.coalesce(item, decisions["item"].take(pc.index_in(sent["decision_id"], value_set=decisions["decision_id"])))
    sent = sent.set_column(sent.column_names.index("item"), "item", item).filter(pc.is_valid(item))
    if not sent.num_rows:
        raise InputError(
            f"No message about an item was sent before {as_of.isoformat()}. Deliver some, or pass decisions= with decision_id and item "
            "(the rows of the plan), or make a table of what your pages showed: " + ", ".join(IMPRESSIONS.names) + "."
        )
    clicked = _first_times(rows, Kind.CLICK, sent)
    bought = _first_times(rows, Kind.PURCHASE, sent, after=clicked)
    at = sent["at"].cast(pa.int64()).to_numpy()
    converted = (clicked >= 0) & (bought >= 0) & (bought < at + window // timedelta(microseconds=1))
    return impressions(
        pa.table(
            {
                "at": sent["at"], "customer": sent["customer"], "item": sent["item"], "position": np.ones(len(at), np.int64),
                "channel": sent["channel"], "request": sent["decision_id"], "click": (clicked >= 0).astype(np.int8),
                "conversion": converted.astype(np.int8), "converted_at": pa.array(bought, mask=~converted).cast(TIME),
            }
        )
    )  # fmt: skip


def _first_times(rows: pa.Table, kind: Kind, sent: pa.Table, after: Any = None) -> Any:
    """Microseconds of the first event of a kind per sent decision, not before ``after``; -1 where there is none."""
    found = rows.filter(pc.equal(rows["kind"], kind.value))
    place = pc.index_in(found["decision_id"], value_set=sent["decision_id"]).fill_null(-1).to_numpy()
    at = found["at"].cast(pa.int64()).to_numpy()
    floor = (sent["at"].cast(pa.int64()).to_numpy() if after is None else after)[place]
    keep = (place >= 0) & (at >= floor) & (floor >= 0)
    none = np.iinfo(np.int64).max
    first = np.full(sent.num_rows, none)
    np.minimum.at(first, place[keep], at[keep])
    return np.where(first == none, -1, first)


def _starts(values: Any) -> Any:
    return np.concatenate(([True], values[1:] != values[:-1])) if len(values) else np.empty(0, bool)


def _columns(table: pa.Table, known: pa.Schema, what: str) -> pa.Table:
    if not isinstance(table, pa.Table):
        raise SchemaError(f"{what}: give a pyarrow table with the columns {', '.join(known.names)}; got {type(table).__name__}.")
    for name in table.column_names:
        if name not in known.names:
            raise SchemaError(f'Table "{what}" has no column "{name}".{did_you_mean(name, known.names)} Allowed: {", ".join(known.names)}.')
    if not table.num_rows:
        raise InputError(f"{what}: there is no row. Give what was shown: {', '.join(known.names)}.")
    return table


def _numbers(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    for name in names:
        if name in table.column_names and pa.types.is_boolean(table[name].type):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int8()))
    return table


def _places(table: pa.Table, what: str) -> None:
    _none(pc.fill_null(pc.less(table["position"], 1), False), "position must be 1 (the first place) or more", table, what)
    odd = pc.and_(pc.is_valid(table["channel"]), pc.invert(pc.is_in(table["channel"], pa.array(CHANNELS))))
    _none(odd, f"channel must be one of {', '.join(CHANNELS)}, or null", table, what)


def _none(bad: Any, rule: str, table: pa.Table, what: str = "impressions") -> None:
    """Raise for the first row where ``bad`` holds."""
    count = pc.sum(bad).as_py()
    if count:
        row = pc.index(bad, True).as_py()
        values = {name: value for name, value in table.slice(row, 1).to_pylist()[0].items() if value is not None}
        shown = ", ".join(f"{name}={value.isoformat() if isinstance(value, datetime) else repr(value)}" for name, value in values.items())
        raise InputError(f"{what}: {rule}. {count:,} of {table.num_rows:,} rows break this; the first is row {row}: {shown}.")
