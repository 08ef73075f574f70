"""``decide``: one decision per customer, within the budget, with logged propensities; a function of its request alone.

    score = value - price * cost,    price >= 1

``value`` is the expected incremental margin before the campaign's own discount, ``cost`` the expected discount plus the
contact, so at price 1 the score is expected incremental profit. A scarce budget raises the price: ``price - 1`` is what one
more unit of budget would earn. The price makes the expected cost of the whole policy, exploration included, plus
``reserve_z`` standard deviations of draw and redemption fit the budget.

What a decision reserves is its expected cost (rounded up) plus its share of a safety for redemptions (``reserve_z``
standard deviations of the plan's total); reservations never exceed the budget. What customers redeem may still exceed
what was reserved, with about 5 % probability at 1.64 when the cost estimates are right; ``meta["worst_cost"]`` says what it would
be if everyone redeemed. Whoever needs a hard limit on redemptions sets the budget to cover that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tradewind.decide import assemble, caps, scarcity
from tradewind.decide.candidates import Candidates, candidates
from tradewind.decide.caps import Limit, Prices
from tradewind.decide.eligibility import CODE
from tradewind.decide.hashing import canonical, digest, digests, fingerprint, uniforms
from tradewind.decide.holdout import held_out
from tradewind.decide.plan import Plan
from tradewind.decide.request import Caps, Exposure, Limits, Request
from tradewind.decide.sampling import Choices, draw_matrix, pick, propensities, wins
from tradewind.decide.scene import Scene, scene
from tradewind.stats.allocate import bisect
from tradewind.types import micros

__all__ = ["POLICY", "Caps", "Exposure", "Limits", "Request", "decide", "recompute"]

POLICY = "posterior-sampling/2"
_PRICING = 2_048  # customers on whom the price is searched; all of them correct it
_DEAREST = 1e9
_ROUNDS = 4
_LEAST = 1e-4
_COOLEST = 0.1


def decide(request: Request) -> Plan:
    """Decide for every profile of ``request``: same request, same plan, byte for byte.

    Raises
    ------
    InputError
        Something in the request is wrong; the message says what, and what is allowed.
    """
    seen = scene(request)
    found = candidates(seen)
    inputs = fingerprint_of(request, seen)
    plan_id = digest("plan", inputs)
    ids = digests(inputs, seen.profiles["customer"].to_pylist())
    units = assemble.units(seen.profiles)
    treat = ~held_out(units, salt=request.salt, share=request.holdout)
    request = replace(request, floor=_floor(request, found, treat))
    seen = replace(seen, request=request)
    draws = draw_matrix(request.seed, request.size - 1, correlation=found.correlation)
    temper = _temper(request, found, draws, treat)
    found = found.tempered(temper)
    found, reach = _reach(request, found, ids, treat)
    told = caps.limits(seen, found)
    capped = caps.reach(seen, told, treat)
    found = _capped(seen, found, ids, told, capped)
    stock = _scarce(seen, found, ids, draws, treat)
    found = scarcity.beyond(found, request, ids, stock)
    told = caps.limits(seen, found)
    exposed, paid, reached = _exposed(seen, found, draws, treat, told)
    choices = _choices(found, scarcity.bonus(seen, exposed), caps.tolls(told, paid.of))
    shares, won = wins(choices, draws, price=paid.budget)
    chances = propensities(shares, found.valid, floor=request.floor)
    drawn = pick(chances, uniforms(request.seed, ids))
    reserved, over, safety = _reserve(seen, found, told, drawn, treat, uniforms(request.seed, ids, purpose="queue"))
    outcome = assemble.Outcome(ids, units, treat, chances, drawn, reserved, over, paid.budget, choices.scores(paid.budget))
    acting = np.flatnonzero(treat & (drawn > 0) & (over == 0))
    meta = assemble.meta(request, seen, found, plan_id=plan_id, policy=POLICY, price=paid.budget)
    used = caps.report(told, paid, np.where(treat[:, None], chances, 0.0), acting, drawn[acting] - 1, reserved, request.reserve_z)
    meta |= {
        "certificate": _certificate(request, found, choices, chances, won, treat, paid.budget, used),
        "safety": safety,
        "temper": temper,
        "reach": reach,
        "stock_reach": stock.logged(request),
        "stock": scarcity.promised(found, seen, drawn, acting) | caps.there(told, budget_id=meta["budget_id"]),
        "exposure_prices": exposed,
        "exposure": reached,
        "worst_cost": float(found.worst[acting, drawn[acting] - 1].sum()),
        "expected_profit": float(((chances[:, 1:] * (found.value - found.cost))[treat]).sum()),
        "inputs": inputs,
    }
    if told:
        meta |= {"caps": used, "cap_reach": capped, "cap_prices": dict(paid.of)}
    return Plan(assemble.table(request, seen, found, outcome, plan_id=plan_id, policy=POLICY), meta, assemble.features(seen, found, ids))


def again(seen: Scene, ids: list[str], meta: Mapping[str, Any], stock: scarcity.Reach) -> tuple[Candidates, Choices]:
    """The candidates of some customers under the reach and the prices of a plan that was decided before."""
    found = candidates(seen, correlation=float(meta["correlation"])).tempered(float(meta["temper"]))
    if meta["reach"] < 1.0:
        found = found.only(uniforms(seen.request.seed, ids, purpose="reach") < meta["reach"], CODE["budget_reach"])
    found = _capped(seen, found, ids, caps.limits(seen, found), meta.get("cap_reach", {}))
    found = scarcity.beyond(found, seen.request, ids, stock)
    toll = caps.tolls(caps.limits(seen, found), meta.get("cap_prices", {}))
    return found, _choices(found, scarcity.bonus(seen, meta["exposure_prices"]), toll)


def recompute(plan: Plan) -> np.ndarray:
    """Propensities of every candidate of a plan, flat and in order, from its log and seed alone; equal to what it logged."""
    choices, size = assemble.logged_choices(plan)
    draws = draw_matrix(int(plan.meta["seed"]), size, correlation=float(plan.meta["correlation"]))
    shares, _ = wins(choices, draws, price=1.0)
    chances = propensities(shares, choices.valid, floor=float(plan.meta["floor"]))
    open_ = np.concatenate([np.ones((len(chances), 1), dtype=bool), choices.valid], axis=1)
    return np.asarray(chances[open_])


def fingerprint_of(request: Request, seen: Scene) -> str:
    """Hash of everything that the plan depends on."""
    tables = [seen.profiles, request.items, request.allowed]
    tables += [table for table in (request.shortlist, request.held) if table is not None]
    offers = [
        [one.offer, one.kind, dict(one.terms), sorted(one.items) if one.items is not None else None, str(one.starts_at), str(one.ends_at),
         one.eligible, sorted(one.audience) if one.audience is not None else None, one.campaign, dict(one.title)]
        for one in request.offers
    ]  # fmt: skip
    names = ("budget", "currency", "salt", "seed", "holdout", "floor", "explore", "window_days", "margin", "zone", "budget_id", "size")
    settings = {name: getattr(request, name) for name in (*names, "reserve_z")}
    settings |= {"channels": dict(request.channels), "limits": vars(request.limits)}
    if request.exposure is not None:
        settings["exposure"] = [request.exposure.column, dict(request.exposure.floors)]
    if request.caps:
        settings["caps"] = {name: dict(most) for name, most in vars(request.caps).items()}
    parts = [fingerprint(table) for table in tables]
    settings |= {"promised": dict(request.promised), "redeemed": dict(request.redeemed)}
    settings |= {"extra_orders": dict(request.extra_orders), "heard": dict(request.heard)}
    people = [sorted(request.impersonal), sorted(request.blocked)]
    return digest(POLICY, micros(request.as_of), canonical(offers), canonical(settings), *parts, canonical(people), seen.shelf.version)


def _choices(found: Candidates, bonus: np.ndarray | None, toll: np.ndarray | None) -> Choices:
    return Choices(found.value, found.sd, found.cost, found.valid, bonus, toll)


def _capped(seen: Scene, found: Candidates, ids: list[str], told: list[Limit], shares: Mapping[str, float]) -> Candidates:
    """Without what a limit has no room for even at the floor."""
    return found.without(caps.beyond(seen, told, shares, ids), CODE["cap_reach"], items=False) if told else found


def _priced(
    request: Request, found: Candidates, bonus: np.ndarray | None, draws: np.ndarray, treat: np.ndarray, told: list[Limit]
) -> Prices:
    """The price of the budget alone, or the prices of all limits together."""
    if told:
        return caps.solve(request, found, bonus, draws, treat, told)
    return Prices(_price(request, found, _choices(found, bonus, None), draws, treat), {})


def _scarce(seen: Scene, found: Candidates, ids: list[str], draws: np.ndarray, treat: np.ndarray) -> scarcity.Reach:
    """Who keeps what is scarce, by the chances of a plan whose other limits have their prices."""
    request, stock = seen.request, seen.shelf.stock
    if not scarcity.scarce(found, stock, treat):
        return scarcity.Reach.none(request)
    told = caps.limits(seen, found)
    paid = _priced(request, found, None, draws, treat, told)
    shares, _ = wins(_choices(found, None, caps.tolls(told, paid.of)), draws, price=paid.budget)
    return scarcity.cut(found, request, stock, ids, propensities(shares, found.valid, floor=request.floor), treat)


def _exposed(
    seen: Scene, found: Candidates, draws: np.ndarray, treat: np.ndarray, told: list[Limit]
) -> tuple[dict[str, float], Prices, dict[str, dict[str, float]]]:
    """Prices of the exposure floors, of the budget and the limits, and the shares reached."""
    request = seen.request
    if request.exposure is None:
        return {}, _priced(request, found, None, draws, treat, told), {}

    def treated(bonus: np.ndarray, paid: Prices) -> np.ndarray:
        shares, _ = wins(_choices(found, bonus, caps.tolls(told, paid.of)), draws, price=paid.budget)
        return np.asarray(1.0 - propensities(shares, found.valid, floor=request.floor)[:, 0])

    def reprice(bonus: np.ndarray) -> Prices:
        return _priced(request, found, bonus, draws, treat, told)

    return scarcity.expose(seen, treat, reprice=reprice, treated=treated)


@dataclass(frozen=True)
class _Spend:
    """Expected cost of a policy over some customers, and its standard deviation."""

    mean: float
    deviation: float

    def held(self, z: float) -> float:
        return self.mean + z * self.deviation


def _spend(found: Candidates, chances: np.ndarray, which: np.ndarray) -> _Spend:
    """Expectation and deviation of the total cost: who is drawn, and who of them redeems."""
    chance, cost = chances[which][:, 1:], found.cost[which]
    mean = (chance * cost).sum(axis=1)
    spread = np.maximum((chance * caps.squares(found)[which]).sum(axis=1) - mean**2, 0.0)
    return _Spend(float(mean.sum()), float(np.sqrt(spread.sum())))


def _floor(request: Request, found: Candidates, treat: np.ndarray) -> float:
    """The least propensity: as asked, or so low that it costs at most the share ``explore`` of the budget and forgoes that of the profit.

    Where no profit is expected it is still ``_LEAST``, if the budget allows that: who never tries never learns that times have changed.
    """
    cost = float(np.where(found.valid, found.cost, 0.0)[treat].sum())
    profit = np.where(found.valid, found.value - found.cost, 0.0)[treat]
    best = np.maximum(profit.max(axis=1, initial=0.0), 0.0)
    forgone = float(np.where(found.valid[treat], best[:, None] - profit, 0.0).sum())
    worth = max(request.explore * float(best.sum()) / forgone, _LEAST) if forgone > 0 else request.floor
    paid = max(request.explore * request.budget / cost, 1e-6) if cost > 0 else request.floor
    return min(request.floor, worth, paid)


def _temper(request: Request, found: Candidates, draws: np.ndarray, treat: np.ndarray) -> float:
    """What the posterior's deviations are multiplied by before they are sampled: at most one, at least ``_COOLEST``.

    About the largest at which what is sampled forgoes, by expectation, at most the share ``explore`` of the profit of the best
    choices; tried on a sample of customers, at the price 1.
    """
    everyone = np.flatnonzero(treat & found.valid.any(axis=1))
    if not len(everyone):
        return 1.0
    sample = everyone[:: -(-len(everyone) // _PRICING)]
    choices = Choices(found.value, found.sd, found.cost, found.valid).rows(sample)
    profit = np.where(choices.valid, choices.values - choices.costs, 0.0)
    best = float(np.maximum(profit.max(axis=1), 0.0).sum())

    def forgone(cooling: float) -> float:
        shares, _ = wins(replace(choices, sds=choices.sds / cooling), draws, price=1.0)
        return best - float((shares[:, 1:] * profit).sum())

    return 1.0 / bisect(forgone, target=request.explore * best, low=1.0, high=1.0 / _COOLEST, passes=8)


def _reach(request: Request, found: Candidates, ids: list[str], treat: np.ndarray) -> tuple[Candidates, float]:
    """When even the floor costs more than the budget, a random share of the customers keeps all of its candidates.

    The share is drawn by hash and logged; the others keep what costs nothing, the rest has the reason budget_reach.
    """
    least = propensities(np.eye(1, found.valid.shape[1] + 1).repeat(len(ids), axis=0), found.valid, floor=request.floor)
    spend = _spend(found, least, treat)
    if spend.held(request.reserve_z) <= request.budget or spend.mean == 0:
        return found, 1.0
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        held = spend.mean * share + request.reserve_z * spend.deviation * np.sqrt(share)
        low, high = (share, high) if held <= request.budget / 2 else (low, share)
    inside = uniforms(request.seed, ids, purpose="reach") < low
    return found.only(inside, CODE["budget_reach"]), low


def _price(request: Request, found: Candidates, choices: Choices, draws: np.ndarray, treat: np.ndarray) -> float:
    """The smallest price at which the policy's cost, with its safety, is expected to fit the budget.

    It is searched on a sample of customers and corrected on all of them.
    """
    everyone = np.flatnonzero(treat & found.valid.any(axis=1))
    if not len(everyone):
        return 1.0
    sample = everyone[:: -(-len(everyone) // _PRICING)]
    scale = len(everyone) / len(sample)

    def spent(which: np.ndarray, price: float) -> _Spend:
        shares, _ = wins(choices.rows(which), draws, price=price)
        return _spend(found, _padded(propensities(shares, found.valid[which], floor=request.floor), which, len(treat)), which)

    correction, price, tried = 1.0, 1.0, _DEAREST
    for _ in range(_ROUNDS):

        def held(price: float, correction: float = correction) -> float:
            one = spent(sample, price)
            return _Spend(one.mean * scale * correction, one.deviation * np.sqrt(scale)).held(request.reserve_z)

        price = bisect(held, target=float(request.budget), low=1.0, high=_DEAREST)
        whole = spent(everyone, price)
        if whole.held(request.reserve_z) <= request.budget:
            tried = min(tried, price)
            if price == 1.0 or whole.held(request.reserve_z) >= 0.98 * request.budget or len(sample) == len(everyone):
                break
        correction *= whole.mean / max(spent(sample, price).mean * scale * correction, 1e-9)
    return tried if tried < _DEAREST else price


def _padded(chances: np.ndarray, which: np.ndarray, n: int) -> np.ndarray:
    full = np.zeros((n, chances.shape[1]))
    full[which] = chances
    return full


def reserve(found: Candidates, drawn: np.ndarray, acting: np.ndarray, *, safety: float) -> np.ndarray:
    """What the decisions of the customers ``acting`` hold of the budget: expected cost and safety, at most the worst; int64."""
    slot = drawn[acting] - 1
    cost, contact, worst = (array[acting, slot] for array in (found.cost, found.contact, found.worst))
    paid = np.maximum(cost - contact, 0.0)
    return np.asarray(np.minimum(np.ceil(cost + safety * paid - 1e-9), np.maximum(worst, cost)).astype(np.int64))


def _reserve(
    seen: Scene, found: Candidates, told: list[Limit], drawn: np.ndarray, treat: np.ndarray, queue: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """What every decision holds of the budget (int64), why it did not fit any more (``assemble.OVER``), the safety per discount."""
    request, n = seen.request, len(drawn)
    reserved, over = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int8)
    acting = np.flatnonzero(treat & (drawn > 0))
    acting = acting[np.argsort(queue[acting], kind="stable")]
    late = scarcity.overdrawn(found, seen.shelf.stock, drawn, acting)
    over[acting[late]] = 2
    acting = acting[~late]
    late = caps.late(told, drawn[acting] - 1, acting)
    over[acting[late]] = 3
    acting = acting[~late]
    if not len(acting):
        return reserved, over, 0.0
    slot = drawn[acting] - 1
    cost, contact, worst = (array[acting, slot] for array in (found.cost, found.contact, found.worst))
    paid = np.maximum(cost - contact, 0.0)
    deviation = float(np.sqrt(np.maximum(paid * (worst - contact - paid), 0.0).sum()))
    safety = float(request.reserve_z * deviation / paid.sum()) if paid.sum() > 0 else 0.0
    held = reserve(found, drawn, acting, safety=safety)
    late = caps.late(told, slot, acting, money=held)
    over[acting[late]] = 3
    acting, held = acting[~late], held[~late]
    fits = np.cumsum(held) <= request.budget
    over[acting[~fits]] = 1
    reserved[acting[fits]] = held[fits]
    return reserved, over, safety


def _certificate(
    request: Request,
    found: Candidates,
    choices: Choices,
    chances: np.ndarray,
    won: np.ndarray,
    treat: np.ndarray,
    price: float,
    used: Mapping[str, Mapping[str, float]],
) -> dict[str, float]:
    """How far the policy is from the best with the same floor, draws and capacity: dual bound minus primal, minor units.

    The sampled problem gives every (customer, draw) one action; its weight is what the floor leaves. At the price each
    chooses its best, so the dual bound is the primal plus (price - 1) * (capacity - expected cost). ``capacity`` is the budget
    without the safety; it is the expected cost itself where the floor alone costs more. Exposure floors and the limits of
    ``used`` are further constraints with prices of their own, whose slack is part of the gap; ``violation`` is the most by
    which any of those is exceeded after the draw was mended.
    """
    spend = _spend(found, chances, treat)
    weight = 1.0 - request.floor * (1 + found.valid.sum(axis=1))
    floored = request.floor * np.where(found.valid, found.value - found.cost, 0.0).sum(axis=1)
    primal = float((weight * won + floored)[treat].sum())
    capacity = max(request.budget - request.reserve_z * spend.deviation, spend.mean)
    gap = (price - 1.0) * (capacity - spend.mean)
    if choices.bonus is not None:
        gap += float(((1.0 - chances[:, 0]) * choices.bonus)[treat].sum())
    gap += sum(one["price"] * max(one["free"] - one["safety"] - one["expected"], 0.0) for one in used.values())
    violation = max((one["used"] - one["free"] for one in used.values()), default=0.0)
    mended = {"violation": max(violation, 0.0)} if used else {}
    return mended | {"price": price, "capacity": capacity, "expected_cost": spend.mean, "primal": primal, "bound": primal + gap, "gap": gap}
