"""The moments of a log that risk looks at: orders, claims of coupons, refunds and views, each with what identifies who acts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.schema import Kind
from tradewind.types import Event, micros

Ints = NDArray[np.int64]

ACTIONS = ("view", "claim", "order", "refund")
VIEW, CLAIM, ORDER, REFUND = range(len(ACTIONS))
KEYS = ("customer", "device", "address", "card", "coupon")  # what velocities are counted by
LINKS = ("device", "address", "card")  # what two accounts can share
_KINDS = {Kind.VIEW: VIEW, Kind.COUPON: CLAIM, Kind.PURCHASE: ORDER, Kind.REDEEM: ORDER, Kind.REFUND: REFUND}
# Where an event's context says it: the first name that is there counts.
_NAMES = {"device": ("device_id", "device"), "address": ("ship_to", "address_hash"), "card": ("card_hash", "card")}
_CLASSES = frozenset(
    {"mobile", "desktop", "tablet", "tv", "smart tv", "console", "web", "ios", "android", "other"}
)  # of devices: no device
_CARD_NUMBER = re.compile(r"\A(?:\d[ -]?){12,18}\d\Z")


@dataclass(frozen=True, slots=True)
class Moment:
    """One order, claim, refund or view; money in minor units; ``card`` and ``address`` are keyed hashes, never the thing itself."""

    id: str
    at: int  # microseconds UTC
    action: int  # index into ACTIONS
    customer: str | None = None
    device: str | None = None
    address: str | None = None
    card: str | None = None
    coupon: str | None = None
    amount: int = 0  # what is paid, after the discount
    discount: int = 0


@dataclass(frozen=True)
class Moments:
    """n moments in order of (time, id). ``code[key]``: int64 [n] into ``names[key]``, -1 where nothing is known."""

    id: list[str]
    at: Ints
    action: Ints
    code: Mapping[str, Ints]
    names: Mapping[str, Sequence[str]]
    amount: Ints
    discount: Ints
    signed_up: Mapping[str, int] = field(default_factory=dict)  # customer -> microseconds

    def __len__(self) -> int:
        return len(self.at)

    def text(self, key: str) -> list[str | None]:
        """The values of a key, None where nothing is known."""
        names = self.names[key]
        return [names[number] if number >= 0 else None for number in self.code[key].tolist()]

    def each(self) -> list[Moment]:
        """The same, one at a time: what a service hears."""
        columns = (self.id, self.at.tolist(), self.action.tolist(), *(self.text(key) for key in KEYS))
        return [Moment(*row) for row in zip(*columns, self.amount.tolist(), self.discount.tolist(), strict=True)]

    def part(self, keep: NDArray[np.bool_]) -> Moments:
        """The moments where ``keep``; codes and names stay."""
        ids = [name for name, yes in zip(self.id, keep.tolist(), strict=True) if yes]
        code = {key: values[keep] for key, values in self.code.items()}
        return Moments(ids, self.at[keep], self.action[keep], code, self.names, self.amount[keep], self.discount[keep], self.signed_up)


def read(events: pa.Table, customers: pa.Table | None = None) -> Moments:
    """The moments of rows of ``schema.EVENTS``: the lines and the redemption of an order are one; views name nothing but who looks.

    ``customers`` (customer, signed_up_at) says when accounts were opened; without it an account is as old as its first moment.
    What identifies comes from the JSON ``context``: ``device_id`` or ``device`` (a text, or an object with
    ``id``; a class such as "mobile" is no device), ``ship_to`` or ``address_hash``, ``card_hash`` or ``card``.

    Raises
    ------
    InputError
        A context is no JSON object, or a card looks like a card number instead of its hash.
    """
    wanted = pa.array([str(kind) for kind in _KINDS])
    events = events.filter(pc.is_in(events["kind"], value_set=wanted))
    kinds = {str(kind): action for kind, action in _KINDS.items()}
    encoded = events["kind"].combine_chunks().dictionary_encode()
    action = np.array([kinds[name] for name in encoded.dictionary.to_pylist()] or [0], dtype=np.int64)[encoded.indices.to_numpy()]
    purchase = pc.equal(events["kind"], str(Kind.PURCHASE)).to_numpy(zero_copy_only=False)
    whole = (action == ORDER) & events["order_id"].is_valid().to_numpy()
    group = pc.if_else(pa.array(whole), events["order_id"], events["id"])
    told = _identify(events["context"])
    bought = events.filter(pa.array(purchase & whole))["order_id"].unique()
    covered = whole & ~purchase & pc.is_in(events["order_id"], value_set=bought).to_numpy(zero_copy_only=False)
    money = {name: pa.array(np.where(covered, 0, _whole(events[name]))) for name in ("value", "discount")}  # its lines say it
    rows = pa.table(
        {
            "group": group,
            "action": pa.array(action),
            "at": events["at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()),
            "customer": events["customer"],
            **told,
            "coupon": pc.if_else(pa.array(action == VIEW), pa.scalar(None, pa.string()), events["offer"]),
            **money,
        }
    ).sort_by([("at", "ascending")])
    firsts = [(key, "first", pc.ScalarAggregateOptions(skip_nulls=True)) for key in KEYS]
    sums = [("at", "min"), ("value", "sum"), ("discount", "sum")]
    made = rows.group_by(["action", "group"], use_threads=False).aggregate([*firsts, *sums])
    made = made.sort_by([("at_min", "ascending"), ("group", "ascending"), ("action", "ascending")])
    code, names = {}, {}
    for key in KEYS:
        column = made[f"{key}_first"].cast(pa.string()).combine_chunks().dictionary_encode()
        code[key] = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        names[key] = column.dictionary.to_pylist()
    numbers = [made[name].to_numpy().astype(np.int64) for name in ("at_min", "action", "value_sum", "discount_sum")]
    return Moments(made["group"].to_pylist(), numbers[0], numbers[1], code, names, numbers[2], numbers[3], signups(customers))


def signups(customers: pa.Table | None) -> dict[str, int]:
    """Customer -> microseconds of opening the account, where known."""
    if customers is None:
        return {}
    known = customers.filter(customers["signed_up_at"].is_valid())
    return dict(
        zip(
            known["customer"].to_pylist(),
            known["signed_up_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist(),
            strict=True,
        )
    )


def moment(event: Event) -> Moment | None:
    """One event as a moment, for a service that hears them one by one; None for kinds that risk does not look at.

    An order of several lines comes as one event with the whole amount (a checkout that is about to be paid, or the one
    line); :func:`read` sums the lines of a log.
    """
    action = ORDER if event.kind == Kind.CHECKOUT else _KINDS.get(Kind(event.kind))
    if action is None:
        return None
    told = dict(zip(LINKS, _told(event.context), strict=True))
    coupon = None if action == VIEW else event.offer
    name = event.order_id if action == ORDER and event.order_id else event.id
    return Moment(
        name, micros(event.at), action, event.customer, **told, coupon=coupon, amount=event.value or 0, discount=event.discount or 0
    )


def _whole(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy())


def _identify(context: pa.ChunkedArray) -> dict[str, pa.Array]:
    """Device, address and card of each context; every text is read once."""
    encoded = context.cast(pa.string()).combine_chunks().dictionary_encode()
    told = [_told(text) for text in encoded.dictionary.to_pylist()]
    return {key: pa.array([one[place] for one in told], pa.string()).take(encoded.indices) for place, key in enumerate(LINKS)}


def _told(context: str | None) -> tuple[str | None, ...]:
    if not context:
        return (None,) * len(LINKS)
    try:
        values = json.loads(context)
    except json.JSONDecodeError as error:
        raise InputError(f"The context of an event must be a JSON object; got {context[:80]!r}: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"The context of an event must be a JSON object; got {context[:80]!r}.")
    return tuple(_value(values, key) for key in LINKS)


def _value(values: Mapping[str, Any], key: str) -> str | None:
    found = next((values[name] for name in _NAMES[key] if values.get(name) is not None), None)
    if isinstance(found, Mapping):
        found = found.get("id")
    if found is None or found == "" or (key == "device" and str(found).lower() in _CLASSES):
        return None
    if key == "card" and _CARD_NUMBER.match(str(found)):
        raise InputError(
            "The context of an event holds a card number. Store a keyed hash (the payment provider's fingerprint of the card) instead, "
            "and remove the number from the source."
        )
    return str(found)
