"""What is known about an order or a claim at its moment: one definition, computed over a log or event by event.

``replay(moments)`` computes the features of every order and claim of a log at once; ``Live`` keeps state and answers for one
moment. Both give the same values to the bit (``bench/risk.py --only replay``). A feature looks at what came before the moment in
the order (time, id); the moment itself counts only where the name says what this moment makes it (``device_customers``).

=============================  =======================================================================================
``{key}_orders_{window}``      earlier orders of the same customer, device, address, card or coupon in 1h, 24h, 7d, 30d
``{key}_amount_{window}``      what they paid, minor units; by customer, device, card
``{key}_claims_{window}``      earlier claims of coupons; by customer, device, address, coupon
``{a}_new_{b}s_{window}``      values of b that a first met in the window, such as accounts first seen on a device
``{a}_{b}s``                   values of b that a ever met, this moment included
``{key}_refunds_30d``          refunds; by customer, device, address
``component_customers``        accounts that hang together through devices, addresses and cards, hubs left out
``neighbour_...``              means over the other accounts on the same device, address or card, hubs left out
=============================  =======================================================================================

An identifier is a hub when more than ``HUB`` accounts use it: an office, a shared phone box, a forwarding address. It links nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._risk_graph import GRAPH, Graph
from tradewind.learn._risk_log import ACTIONS, CLAIM, KEYS, LINKS, ORDER, VIEW, Moment, Moments
from tradewind.learn._risk_tracks import ALL, Tracks, many, met, over

Columns = dict[str, NDArray[Any]]
Ints = NDArray[np.int64]
DAY = 86_400_000_000  # microseconds
MINUTE = 60_000_000
NAN = float("nan")

_OWN = ("amount", "discount", "discount_share", "amount_ratio", "customer_days", "coupon_share", "minutes_since_claim", "hour")
NUMBERS: tuple[str, ...] = (*_OWN, *ALL, *GRAPH)
FLAGS: tuple[str, ...] = tuple(f"new_{key}" for key in LINKS)
MODELLED = (*NUMBERS, *FLAGS)
TEXTS: tuple[str, ...] = ("action", *KEYS)
FIELDS: Mapping[str, str] = {**dict.fromkeys(TEXTS, "text"), **dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(FLAGS, "flag")}
"""Name of every feature -> "number" (float64, NaN: not known), "flag" (bool) or "text" (None: not known)."""


def replay(moments: Moments) -> Columns:
    """The features of every order and claim of a log, in its order: numbers float64, flags bool, texts object; each [m].

    ``asked(moments)`` says which moments these are. ``bench/risk.py`` prints how many moments a second.
    """
    rows = np.flatnonzero(asked(moments))
    columns: Columns = {"action": np.array(ACTIONS, dtype=object)[moments.action[rows]]}
    for key in KEYS:
        columns[key] = np.array([*moments.names[key], None], dtype=object)[moments.code[key][rows]]
    columns |= over(moments, rows)
    columns |= _linked(moments, rows)
    return _finish(columns, moments.at[rows], moments.amount[rows], moments.discount[rows])


def asked(moments: Moments) -> NDArray[np.bool_]:
    """Which moments are decided about: orders and claims; views and refunds only leave traces."""
    return np.isin(moments.action, (CLAIM, ORDER))


def matrix(columns: Columns) -> NDArray[np.float64]:
    """What models learn from: ``NUMBERS`` and ``FLAGS``, float64 [m, f]; never an identifier itself, which would be learned by heart."""
    return np.column_stack([columns[name].astype(np.float64) for name in MODELLED])


class Live:
    """The same features for one moment at a time: ask :meth:`features`, then tell :meth:`hear`.

    A moment may be heard late: what is asked later counts it at its own time, as a replay would.
    """

    def __init__(self, signed_up: Mapping[str, int] | None = None) -> None:
        self._tracks, self._graph = Tracks(), Graph()
        self._signed_up = dict(signed_up or {})

    @classmethod
    def of(cls, moments: Moments) -> Live:
        """The state after a whole log."""
        live = cls(moments.signed_up)
        for one in moments.each():
            live.hear(one)
        return live

    def features(self, moment: Moment) -> dict[str, Any]:
        """One value per name of ``FIELDS``; reads only."""
        row: dict[str, Any] = {"action": ACTIONS[moment.action], **{key: getattr(moment, key) for key in KEYS}}
        row |= self._tracks.look(moment) | self._graph.look(moment)
        row["since"] = self._graph.since(moment, self._signed_up)
        columns = {name: np.array([value]) for name, value in row.items()}
        made = _finish(columns, *(np.array([value]) for value in (moment.at, moment.amount, moment.discount)))
        return {name: row[name] if name in row else made[name][0].item() for name in FIELDS}

    def hear(self, moment: Moment) -> None:
        """Take in a moment: an order, a claim, a refund or a view."""
        self._tracks.add(moment)
        if moment.action != VIEW:
            self._graph.add(moment)


def _linked(moments: Moments, rows: Ints) -> Columns:
    """The columns of ``GRAPH`` and ``since``: one walk through the log, with the graph that the service keeps."""
    graph, wanted = Graph(), np.zeros(len(moments), dtype=bool)
    wanted[rows] = True
    places = np.flatnonzero(moments.action != VIEW)
    found: list[list[float]] = []
    for one, ask in zip(moments.part(moments.action != VIEW).each(), wanted[places].tolist(), strict=True):
        if ask:
            found.append([*graph.look(one).values(), graph.since(one, moments.signed_up)])
        graph.add(one)
    values = np.array(found, dtype=np.float64).reshape(-1, len(GRAPH) + 1)
    return dict(zip((*GRAPH, "since"), values.T, strict=True))


def _finish(columns: Columns, at: Ints, amount: Ints, discount: Ints) -> Columns:
    """The features that combine others, and the columns in their order; the same lines for a log and for one moment."""
    orders, paid = columns["customer_orders"], columns["customer_paid"]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns |= {
            "amount": amount.astype(np.float64),
            "discount": discount.astype(np.float64),
            "discount_share": np.where(amount + discount > 0, discount / (amount + discount), 0.0),
            "amount_ratio": np.where(paid > 0, amount * orders / paid, NAN),
            "customer_days": np.maximum(at - columns["since"], 0) / DAY,
            "coupon_share": np.where(orders > 0, columns["customer_coupons"] / orders, NAN),
            "minutes_since_claim": (at - columns["claimed_at"]) / MINUTE,
            "hour": (at // (60 * MINUTE) % 24).astype(np.float64),
        }
    for key in LINKS:
        columns[f"new_{key}"] = (columns[met("customer", key)] == 0.0) & (columns[f"customer_{many(key)}"] > 1)
    return {name: columns[name] for name in FIELDS}
