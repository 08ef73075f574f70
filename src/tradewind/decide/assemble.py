"""From arrays to the tables of a plan: keys, lists, reasons as JSON, what was suppressed, and the logged features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.decide.candidates import Candidates
from tradewind.decide.eligibility import CODE, CODES
from tradewind.decide.features import NUMERIC, PREFIX
from tradewind.decide.hashing import canonical, hex_rows, row_hashes
from tradewind.decide.request import Request
from tradewind.decide.sampling import Choices
from tradewind.decide.scene import Scene
from tradewind.decide.unread import OFF, PROFILE
from tradewind.schema import PLAN, TIME, conform
from tradewind.types import NOTHING, Offer, micros

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan


OVER = {1: ("budget", "budget_full"), 2: ("stock", "stock_full"), 3: ("limits", "limit_full")}  # why a draw became "nothing"


@dataclass(frozen=True)
class Outcome:
    """What was drawn, one entry per customer; ``chances`` (customers, slots + 1) with "nothing" first."""

    ids: list[str]
    units: list[str]
    treat: np.ndarray
    chances: np.ndarray
    drawn: np.ndarray
    reserved: np.ndarray
    over: np.ndarray  # 0, or the number of the reason in ``OVER``
    price: float
    scores: np.ndarray  # (customers, slots)


def units(profiles: pa.Table) -> list[str]:
    """The unit of randomisation per customer: the household where there is one."""
    names: list[str] = profiles["customer"].to_pylist()
    if "household" not in profiles.column_names:
        return names
    return [home or name for home, name in zip(profiles["household"].to_pylist(), names, strict=True)]


def table(request: Request, seen: Scene, found: Candidates, out: Outcome, *, plan_id: str, policy: str) -> pa.Table:
    """The plan as ``schema.PLAN``, sorted by customer."""
    n = len(out.ids)
    open_ = np.concatenate([np.ones((n, 1), dtype=bool), found.valid], axis=1)
    chosen = np.where(out.over > 0, 0, out.drawn)
    rows = np.arange(n)
    offsets = pa.array(np.concatenate([[0], np.cumsum(open_.sum(axis=1))]), pa.int32())

    def wide(array: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros((n, 1)), array], axis=1)

    def lists(array: np.ndarray) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(array[open_]))

    def picked(array: np.ndarray) -> np.ndarray:
        return np.asarray(wide(array)[rows, chosen])

    names = seen.shelf.names
    keys = _keys(seen, found, open_)
    starts = np.asarray(offsets)[:-1]
    place = starts + (np.cumsum(open_, axis=1)[rows, chosen] - 1)
    idle = pa.array(chosen == 0)
    offer, item, channel = (picked(array).astype(np.int64) for array in (found.offer, found.item, found.channel))
    return conform(
        pa.table(
            {
                "decision_id": pa.array(out.ids, pa.string()),
                "plan_id": pa.array([plan_id] * n, pa.string()),
                "customer": seen.profiles["customer"],
                "unit": pa.array(out.units, pa.string()),
                "at": pa.array(np.full(n, micros(request.as_of)), TIME),
                "variant": pa.array(np.where(out.treat, "treat", "holdout").tolist(), pa.string()),
                "action": keys.take(pa.array(place)),
                "offer": _unless(idle, _words(names["offer"], offer)),
                "item": _unless(pc.or_(idle, pa.array(item < 0)), _words(names["item"], item)),
                "channel": _unless(idle, _words(names["channel"], channel)),
                "creative": pa.nulls(n, pa.string()),
                "send_at": _unless(idle, pa.array(seen.send_at, TIME)),
                "propensity": pa.array(out.chances[rows, chosen]),
                "mode": pa.array(np.where(out.over > 0, "override", "policy").tolist(), pa.string()),
                "value": pa.array(picked(found.value)),
                "cost": pa.array(picked(found.cost)),
                "reserved": pa.array(out.reserved),
                "candidates": pa.ListArray.from_arrays(offsets, keys),
                "propensities": lists(out.chances),
                "values": lists(wide(found.value)),
                "sds": lists(wide(found.sd)),
                "costs": lists(wide(found.cost)),
                "scores": lists(wide(out.scores)),
                "reasons": pa.ListArray.from_arrays(offsets, _reasons(request, seen, found, open_)),
                "suppressed": _suppressed(request, seen, found, out.over),
                "price": pa.array(np.full(n, out.price)),
                "policy": pa.array([policy] * n, pa.string()),
                "model": pa.array([seen.shelf.version] * n, pa.string()),
                "features": pa.array(hex_rows(row_hashes(seen.profiles)), pa.string()),
                "seed": pa.array(np.full(n, request.seed)),
            }
        ),
        PLAN,
    )


def features(seen: Scene, found: Candidates, ids: list[str]) -> pa.Table:
    """What the value model saw, one row per decision: the training rows of the next model."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(found.valid.sum(axis=1))]), pa.int32())
    columns = {"decision_id": pa.array(ids, pa.string())}
    for number, name in enumerate(seen.shelf.model.columns):
        columns[PREFIX + name] = pa.array(seen.x[:, number].astype(np.float32), from_pandas=True)
    for name in (*NUMERIC, "prior_cost"):
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(getattr(found, name)[found.valid]))
    return pa.table(columns)


def meta(request: Request, seen: Scene, found: Candidates, *, plan_id: str, policy: str, price: float) -> dict[str, Any]:
    """What the whole plan shares; JSON values only."""
    return {
        "plan_id": plan_id,
        "policy": policy,
        "model": seen.shelf.version,
        "model_rows": seen.shelf.model.rows,
        "as_of": request.as_of.isoformat(),
        "budget": request.budget,
        "budget_id": request.budget_id or plan_id,
        "currency": request.currency,
        "holdout": request.holdout,
        "salt": request.salt,
        "seed": request.seed,
        "floor": request.floor,
        "window_days": request.window_days,
        "channel_costs": dict(request.channels),
        "offers": {one.offer: _offer(one) for one in request.offers},
        "limits": vars(request.limits),
        "unit": seen.shelf.unit,
        "price": price,
        "correlation": found.correlation,
        "slots": found.valid.shape[1],
        "reserve_z": request.reserve_z,
        "unknown_zones": seen.bad_zones,
        "unknown_shortlist_rows": seen.listed.unknown,
    }


def logged_choices(plan: Plan) -> tuple[Choices, int]:
    """The candidates that a plan logged, scores in place of values and costs, and how many slots its draws had."""
    lists = plan.table["candidates"].combine_chunks()
    counts = pc.list_value_length(lists).to_numpy() - 1
    slots = max(int(plan.meta["slots"]), 1)
    valid = np.arange(slots)[None, :] < counts[:, None]
    full = np.concatenate([np.ones((len(counts), 1), dtype=bool), valid], axis=1)

    def wide(name: str) -> np.ndarray:
        array = np.zeros(full.shape)
        array[full] = plan.table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return array[:, 1:]

    return Choices(wide("scores"), wide("sds"), np.zeros(valid.shape), valid), slots


def _offer(one: Offer) -> dict[str, Any]:
    ends = one.ends_at.isoformat() if one.ends_at else None
    return {"kind": one.kind, "terms": dict(one.terms), "campaign": one.campaign, "ends_at": ends, "title": dict(one.title)}


def _words(known: pa.Array, index: np.ndarray) -> pa.Array:
    return pa.nulls(len(index), pa.string()) if not len(known) else known.take(pa.array(np.clip(index, 0, len(known) - 1)))


def _unless(missing: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(missing, pa.scalar(None, values.type), values)


def _flat(array: np.ndarray, open_: np.ndarray) -> np.ndarray:
    return np.asarray(np.concatenate([np.full((len(array), 1), -1), array], axis=1)[open_].astype(np.int64))


def _keys(seen: Scene, found: Candidates, open_: np.ndarray) -> pa.Array:
    names = seen.shelf.names
    offer, item, channel = (_flat(array, open_) for array in (found.offer, found.item, found.channel))
    named = _unless(pa.array(item < 0), _words(names["item"], item)).fill_null("")
    offers, channels = _words(names["offer"], offer), _words(names["channel"], channel)
    joined = pc.binary_join_element_wise(offers.fill_null(""), named, channels.fill_null(""), "|")
    return pc.if_else(pa.array(offer < 0), NOTHING, joined)


def _ranked(side: int) -> pa.Array:
    """The JSON of "recommended" before and after the source, by rank."""
    told = [canonical({"code": "recommended", "details": {"rank": number + 1, "source": "\x00"}}) for number in range(60)]
    return pa.array([text.split("\\u0000")[side] for text in told])


_RANKED = (_ranked(0), _ranked(1))


def _reasons(request: Request, seen: Scene, found: Candidates, open_: np.ndarray) -> pa.Array:
    """A JSON list per candidate: where the item came from, what the recommender said, what the offer gives."""
    offer, row, rank, item = (_flat(array, open_) for array in (found.offer, found.row, found.rank, found.item))
    listed = request.shortlist
    rows = 0 if listed is None else listed.num_rows
    said = pa.array([""] * rows, pa.string())
    source = pa.array(["shortlist"] * rows, pa.string())
    if listed is not None and "reasons" in listed.column_names:
        said = pc.utf8_trim(listed["reasons"].cast(pa.string()).combine_chunks().fill_null(""), " []")
    if listed is not None and "source" in listed.column_names:
        source = listed["source"].cast(pa.string()).combine_chunks().fill_null("shortlist")
    has = pa.array(row >= 0)
    before, after = _RANKED
    at = pa.array(np.clip(rank, 0, 59))
    picked = _words(source, row) if rows else pa.array([""] * len(row))
    quoted = pa.array([canonical([word])[2:-2] for word in picked.dictionary_encode().dictionary.to_pylist()], pa.string())
    safe = quoted.take(picked.dictionary_encode().indices) if len(quoted) else picked.cast(pa.string())
    first = pc.binary_join_element_wise(before.take(at), safe, after.take(at), "")
    instead = np.where(item >= 0, canonical({"code": "popular", "details": {}}), canonical({"code": "basket", "details": {}}))
    first = pc.if_else(has, first, pa.array(instead.tolist(), pa.string()))
    extra = pc.if_else(has, _words(said, row) if rows else pa.array([""] * len(row)), "")
    extra = pc.if_else(pc.equal(extra, ""), "", pc.binary_join_element_wise(",", extra, ""))
    joined = pc.binary_join_element_wise("[", first, extra, ",", _words(seen.shelf.names["told"], offer).fill_null(""), "]", "")
    return pc.if_else(pa.array(offer < 0), '[{"code":"nothing","details":{}}]', joined)


def _suppressed(request: Request, seen: Scene, found: Candidates, over: np.ndarray) -> pa.Array:
    """A JSON object per customer: offer, ``channel:name`` or ``offer|item`` -> reason code."""
    off = np.where(seen.impersonal, CODE[OFF], 0)
    codes = np.concatenate([found.offer_codes, found.channel_codes, np.stack([off, over], axis=1).astype(np.int8)], axis=1)
    names = [*(one.offer for one in request.offers), *(f"channel:{name}" for name in seen.shelf.channels), PROFILE]
    kinds, which = np.unique(codes, axis=0, return_inverse=True) if len(codes) > 1 else (codes, np.zeros(len(codes), dtype=np.int64))
    base = []
    for kind in kinds:
        told = {name: CODES[code] for name, code in zip(names, kind[:-1], strict=True) if code}
        if kind[-1]:
            name, why = OVER[int(kind[-1])]
            told[name] = why
        base.append(told)
    texts = np.array([canonical(one) for one in base], dtype=object)[which.ravel()]
    faults: dict[int, dict[str, str]] = {}
    items = request.items["item"].to_pylist() if len(found.item_faults) else []
    for customer, offer, item, code in found.item_faults.tolist():
        faults.setdefault(customer, {})[f"{request.offers[offer].offer}|{items[item]}"] = CODES[code]
    for customer, told in faults.items():
        texts[customer] = canonical(base[int(which.ravel()[customer])] | told)
    return pa.array(texts.tolist(), pa.string())
