"""The log row of one customer as Python values: what ``assemble.table`` makes of many at once, without the cost of tables.

A test compares the two, column by column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tradewind.decide.assemble import OVER, Outcome
from tradewind.decide.candidates import Candidates
from tradewind.decide.eligibility import CODES
from tradewind.decide.hashing import canonical, row_hash
from tradewind.decide.scene import Scene
from tradewind.decide.unread import OFF, PROFILE
from tradewind.types import NOTHING, from_micros

_RANKS = 60  # as in assemble


def row(seen: Scene, found: Candidates, out: Outcome, *, plan_id: str, policy: str) -> dict[str, Any]:
    """The columns of ``schema.PLAN`` for the only customer of ``seen``."""
    slots = np.flatnonzero(found.valid[0]).tolist()
    actions = [_names(seen, found, slot) for slot in slots]
    keys = [NOTHING, *("|".join(name or "" for name in action) for action in actions)]
    over = int(out.over[0])
    drawn = 0 if over else int(out.drawn[0])
    at = slots.index(drawn - 1) + 1 if drawn else 0
    offer, item, channel = actions[at - 1] if drawn else (None, None, None)

    def listed(array: np.ndarray, nothing: float = 0.0) -> list[float]:
        return [nothing, *array[0, slots].tolist()]

    values, costs = listed(found.value), listed(found.cost)
    chances = listed(out.chances[:, 1:], float(out.chances[0, 0]))
    return {
        "decision_id": out.ids[0],
        "plan_id": plan_id,
        "customer": seen.profiles["customer"][0].as_py(),
        "unit": out.units[0],
        "at": seen.request.as_of,
        "variant": "treat" if out.treat[0] else "holdout",
        "action": keys[at],
        "offer": offer,
        "item": item,
        "channel": channel,
        "creative": None,
        "send_at": from_micros(int(seen.send_at[0])) if drawn else None,
        "propensity": chances[at],
        "mode": "override" if over else "policy",
        "value": values[at],
        "cost": costs[at],
        "reserved": int(out.reserved[0]),
        "candidates": keys,
        "propensities": chances,
        "values": values,
        "sds": listed(found.sd),
        "costs": costs,
        "scores": listed(out.scores),
        "reasons": ['[{"code":"nothing","details":{}}]', *(_reasons(seen, found, slot) for slot in slots)],
        "suppressed": canonical(_suppressed(seen, found, over)),
        "price": out.price,
        "policy": policy,
        "model": seen.shelf.version,
        "features": row_hash(seen.profiles),
        "seed": seen.request.seed,
    }


def _names(seen: Scene, found: Candidates, slot: int) -> tuple[str, str | None, str]:
    offer, item, channel = (int(array[0, slot]) for array in (found.offer, found.item, found.channel))
    return seen.request.offers[offer].offer, seen.shelf.names["item"][item].as_py() if item >= 0 else None, seen.shelf.channels[channel]


def _reasons(seen: Scene, found: Candidates, slot: int) -> str:
    """Where the item came from, what the recommender said, what the offer gives; a JSON list."""
    listed, place = seen.request.shortlist, int(found.row[0, slot])
    parts = []
    if place >= 0 and listed is not None:
        source = listed["source"][place].as_py() if "source" in listed.column_names else None
        rank = min(int(found.rank[0, slot]), _RANKS - 1) + 1
        parts.append(canonical({"code": "recommended", "details": {"rank": rank, "source": source or "shortlist"}}))
        parts.append(((listed["reasons"][place].as_py() if "reasons" in listed.column_names else None) or "").strip(" []"))
    else:
        parts.append(canonical({"code": "popular" if found.item[0, slot] >= 0 else "basket", "details": {}}))
    parts.append(seen.shelf.names["told"][int(found.offer[0, slot])].as_py())
    return f"[{','.join(part for part in parts if part)}]"


def _suppressed(seen: Scene, found: Candidates, over: int) -> dict[str, str]:
    """Offer, ``channel:name`` or ``offer|item`` -> reason code."""
    offers, codes = seen.request.offers, found.offer_codes[0]
    told = {offers[at].offer: CODES[codes[at]] for at in np.flatnonzero(codes).tolist()}
    told |= {
        f"channel:{name}": CODES[code] for name, code in zip(seen.shelf.channels, found.channel_codes[0].tolist(), strict=True) if code
    }
    if seen.impersonal[0]:
        told[PROFILE] = OFF
    if over:
        name, why = OVER[over]
        told[name] = why
    for _, offer, item, code in found.item_faults.tolist():
        told[f"{offers[offer].offer}|{seen.shelf.names['item'][item].as_py()}"] = CODES[code]
    return told
