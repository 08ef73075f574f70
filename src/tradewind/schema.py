"""The tables that flow between rooms, each named once, as Arrow schemas with a version.

Times are ``timestamp[us, UTC]``. Money is an integer of minor units (cents, fen) beside an ISO 4217 currency.
Free attributes travel as a JSON object in one text column, so that a shop's own fields are never lost.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

from tradewind.errors import SchemaError, did_you_mean

VERSION = 1
TIME = pa.timestamp("us", tz="UTC")
TEXT = pa.string()
MONEY = pa.int64()


class Kind(StrEnum):
    """What happened. Names of the Segment e-commerce spec v2 and of GA4 are normalised to these."""

    VIEW = "view"
    SEARCH = "search"
    WISH = "wish"
    CART = "cart"
    UNCART = "uncart"
    CHECKOUT = "checkout"
    PURCHASE = "purchase"  # one event per order line
    REFUND = "refund"  # one event per returned line; quantity and value are positive
    REVIEW = "review"
    COUPON = "coupon"  # claimed or shown to the customer by the shop
    REDEEM = "redeem"  # a coupon was used; ``offer`` says which
    SENT = "sent"
    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"
    BOUNCE = "bounce"


class Channel(StrEnum):
    """Where a message reaches a person. How it is handed off (SMTP, gateway, file) is a matter of ``deliver``."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    INAPP = "inapp"


def _table(name: str, *fields: tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema(
        [pa.field(column, kind, nullable=nullable) for column, kind, nullable in fields],
        metadata={"tradewind.table": name, "tradewind.version": str(VERSION)},
    )


EVENTS = _table(
    "events",
    ("id", TEXT, False),  # unique for ever; a content hash when the source gives none
    ("at", TIME, False),
    ("customer", TEXT, True),  # None: nobody was recognised
    ("session", TEXT, True),
    ("kind", TEXT, False),  # a value of Kind
    ("item", TEXT, True),
    ("quantity", pa.float64(), True),
    ("value", MONEY, True),  # of the whole line, in minor units, what the customer paid (or would pay)
    ("discount", MONEY, True),  # of the whole line, in minor units, >= 0, already taken off ``value``
    ("currency", TEXT, True),
    ("order_id", TEXT, True),
    ("offer", TEXT, True),
    ("channel", TEXT, True),
    ("decision_id", TEXT, True),  # joins an outcome to the decision that caused it
    ("text", TEXT, True),  # search phrase, review body
    ("rating", pa.float64(), True),
    ("context", TEXT, True),  # JSON object
    ("source", TEXT, False),  # file, stream or program it came from
)

ITEMS = _table(
    "items",
    ("item", TEXT, False),
    ("title", TEXT, True),
    ("title_zh", TEXT, True),
    ("title_en", TEXT, True),
    ("description_zh", TEXT, True),
    ("description_en", TEXT, True),
    ("category", TEXT, True),  # levels joined by " > ", widest first
    ("brand", TEXT, True),
    ("price", MONEY, True),
    ("cost", MONEY, True),
    ("currency", TEXT, True),
    ("stock", pa.int64(), True),
    ("available_from", TIME, True),
    ("available_until", TIME, True),
    ("attributes", TEXT, True),  # JSON object
)

CUSTOMERS = _table(
    "customers",
    ("customer", TEXT, False),
    ("locale", TEXT, True),  # BCP 47: zh-CN, en
    ("zone", TEXT, True),  # IANA
    ("signed_up_at", TIME, True),
    ("household", TEXT, True),  # unit of randomisation when given
    ("attributes", TEXT, True),  # JSON object; nothing that names the person
)

# Contact points never stay in a table: collect moves them to the vault and keeps only the fact that one exists.
CONTACTS = _table("contacts", ("customer", TEXT, False), ("channel", TEXT, False), ("address", TEXT, False))

CONSENTS = _table(
    "consents",
    ("customer", TEXT, False),
    ("channel", TEXT, False),
    ("granted", pa.bool_(), False),
    ("at", TIME, False),
    ("source", TEXT, False),
)

OFFERS = _table(
    "offers",
    ("offer", TEXT, False),
    ("kind", TEXT, False),  # name of a file in decide/offers
    ("terms", TEXT, False),  # JSON object, checked by that file
    ("campaign", TEXT, True),
    ("starts_at", TIME, True),
    ("ends_at", TIME, True),
    ("eligible", TEXT, True),  # expression over the profile; None: everybody
    ("title_zh", TEXT, True),
    ("title_en", TEXT, True),
)
OFFER_ITEMS = _table("offer_items", ("offer", TEXT, False), ("item", TEXT, False))
CAMPAIGNS = _table("campaigns", ("campaign", TEXT, False), ("kind", TEXT, True), ("starts_at", TIME, True), ("ends_at", TIME, True))
AUDIENCES = _table("audiences", ("campaign", TEXT, False), ("customer", TEXT, False))
PLACEMENTS = _table(
    "placements",  # what the shop promoted where: shelf display, mailer page, banner
    ("item", TEXT, False),
    ("starts_at", TIME, False),
    ("ends_at", TIME, False),
    ("place", TEXT, False),
    ("store", TEXT, True),
)

OUTCOMES = _table(
    "outcomes",  # what became of one decision: the training rows of the next policy
    ("decision_id", TEXT, False),
    ("plan_id", TEXT, False),
    ("customer", TEXT, False),
    ("at", TIME, False),  # end of the window that was counted
    ("margin", MONEY, False),  # of everything the customer bought in the window, returns taken off, before contact costs
    ("cost", MONEY, False),  # discounts given on the decision's offer, plus contact
    ("orders", pa.int64(), False),
    ("clicked", pa.bool_(), False),
    ("matured", pa.bool_(), False),  # the whole window has passed
)

TABLES: dict[str, pa.Schema] = {
    "events": EVENTS,
    "items": ITEMS,
    "customers": CUSTOMERS,
    "contacts": CONTACTS,
    "consents": CONSENTS,
    "offers": OFFERS,
    "offer_items": OFFER_ITEMS,
    "campaigns": CAMPAIGNS,
    "audiences": AUDIENCES,
    "placements": PLACEMENTS,
    "outcomes": OUTCOMES,
}

KEYS: dict[str, tuple[str, ...]] = {
    "events": ("id",),
    "items": ("item",),
    "customers": ("customer",),
    "contacts": ("customer", "channel"),
    "consents": ("customer", "channel", "at"),
    "offers": ("offer",),
    "offer_items": ("offer", "item"),
    "campaigns": ("campaign",),
    "audiences": ("campaign", "customer"),
    "placements": ("item", "starts_at", "place", "store"),
    "outcomes": ("decision_id",),
}

# One row per customer and moment, "nothing" included. Lists run parallel to ``candidates``.
# ``learn/profiles.py`` owns the columns of the profile table; these are the columns of a plan.
PLAN = _table(
    "plan",
    ("decision_id", TEXT, False),
    ("plan_id", TEXT, False),
    ("customer", TEXT, False),
    ("unit", TEXT, False),  # of randomisation: the customer or the household
    ("at", TIME, False),  # the moment of choosing
    ("variant", TEXT, False),  # "treat" | "holdout"
    ("action", TEXT, False),  # chosen key of ``candidates``; "nothing" always exists
    ("offer", TEXT, True),
    ("item", TEXT, True),
    ("channel", TEXT, True),
    ("creative", TEXT, True),
    ("send_at", TIME, True),
    ("propensity", pa.float64(), False),  # of ``action`` under the logged policy, before the holdout is applied
    ("mode", TEXT, False),  # "policy" | "override" (a hard limit changed the draw; excluded from off-policy estimates)
    ("value", pa.float64(), False),  # expected incremental margin of the action, minor units
    ("cost", pa.float64(), False),  # expected cost, minor units: discount at redemption plus contact
    ("reserved", MONEY, False),  # what the budget ledger holds for it; 0 for holdout and nothing
    ("candidates", pa.list_(TEXT), False),  # at most ten keys "offer|item|channel", and "nothing"
    ("propensities", pa.list_(pa.float64()), False),
    ("values", pa.list_(pa.float64()), False),  # posterior means
    ("sds", pa.list_(pa.float64()), False),  # posterior standard deviations
    ("costs", pa.list_(pa.float64()), False),
    ("scores", pa.list_(pa.float64()), False),  # value - price * cost
    ("reasons", pa.list_(TEXT), False),  # JSON list of reasons per candidate
    ("suppressed", TEXT, False),  # JSON object: action or channel -> reason why it was no candidate
    ("price", pa.float64(), False),  # lambda, margin per unit of cost
    ("policy", TEXT, False),
    ("model", TEXT, False),
    ("features", TEXT, False),  # hash of the profile row that was used
    ("seed", pa.int64(), False),
)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return ``table`` with exactly the columns of ``schema``, cast; missing nullable columns become nulls.

    Raises
    ------
    SchemaError
        A required column is missing, an unknown column is there, or a value does not fit its type.
    """
    name = (schema.metadata or {}).get(b"tradewind.table", b"table").decode()
    for column in table.column_names:
        if column not in schema.names:
            raise SchemaError(
                f'Table "{name}" has no column "{column}".{did_you_mean(column, schema.names)} Allowed: {", ".join(schema.names)}.'
            )
    columns = []
    for field in schema:
        if field.name in table.column_names:
            try:
                column = table[field.name]
                column = column if column.type.equals(field.type) else column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SchemaError(
                    f'Column "{field.name}" of table "{name}" is {table[field.name].type}, which cannot become {field.type}: {error}'
                ) from error
            if not field.nullable and column.null_count:
                raise SchemaError(f'Column "{field.name}" of table "{name}" has {column.null_count} empty values; it needs all.')
        elif field.nullable:
            column = pa.nulls(table.num_rows, field.type)
        else:
            raise SchemaError(f'Table "{name}" needs the column "{field.name}". Got: {", ".join(table.column_names)}.')
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
