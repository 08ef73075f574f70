"""Several limits at once: messages a channel carries in a day, money an offer may cost, pieces of an item; beside the budget.

Each limit has a price, and an action pays for what it uses: ``score = value - price * cost - sum of tolls``. The prices are those of
:func:`tradewind.stats.allocate_many.allocate_many` on the sampled problem (customers x posterior draws, one action each), with the floor's
share taken off every limit beforehand. They are corrected on all customers until the expected use of the policy, exploration included,
plus ``reserve_z`` standard deviations fits every limit. What the draw still takes too often becomes "nothing" in an order set by
hash, so that no limit is exceeded; in the ledger every decision holds its part.

Where the floor alone would use too much of a limit, a random share of the customers keeps the candidates that use it
(``cap_reach``). Both depend on the request alone, so that propensities stay exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tradewind.decide.hashing import uniforms
from tradewind.decide.sampling import DRAWS, Choices, propensities, wins
from tradewind.errors import unknown
from tradewind.stats.allocate_many import Resource, allocate_many

if TYPE_CHECKING:
    from tradewind.decide.candidates import Candidates
    from tradewind.decide.request import Request
    from tradewind.decide.scene import Scene

SPEND = "spend:"
BUDGET = "budget"
_DAY = 86_400_000_000  # microseconds
_ROWS = 20_000  # customers x draws on which prices are solved; more customers take one draw each
_TOLERANCE = 1e-3  # of those prices: all customers correct them
_ROUNDS = 3
_STEPS = 16  # of the correction on all customers
_ITEMS = 8  # with a declared stock that get a price each; more of them are shared out by the cut of scarcity alone
_DEAREST = 1e9
_NEAR = 0.95  # of a limit: used well enough


@dataclass(frozen=True)
class Limit:
    """Something scarce: ``use`` (customers, slots) of each candidate, ``second`` its second moment, ``free`` what may be used.

    ``there`` is what there is with what open decisions hold: the number that a commit checks.
    """

    name: str
    free: float
    there: int
    use: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Prices:
    """The price of the budget (1 while it suffices), and of every other limit by name."""

    budget: float
    of: Mapping[str, float]


def limits(seen: Scene, found: Candidates) -> list[Limit]:
    """The limits of a request besides its budget, in a fixed order.

    Raises
    ------
    NotFound
        One is about a channel, offer or item that the request does not have.
    """
    request, told = seen.request, []
    caps = request.caps
    day = seen.send_at // _DAY
    for name, most in sorted(caps.channels.items()):
        number = _place("channel", name, seen.shelf.channels)
        on = found.valid & (found.channel == number)
        told += [_counted(request, f"channel:{name}:{_date(each)}", most, on & (day == each)[:, None]) for each in np.unique(day).tolist()]
    offers = [one.offer for one in request.offers]
    for name, most in sorted(caps.offers.items()):
        on = found.valid & (found.offer == _place("offer", name, offers))
        taken = request.promised.get(spend(request.budget_id, name), 0) if request.budget_id else 0
        second = np.where(on, squares(found), 0.0)
        told.append(Limit(f"{SPEND}{name}", float(max(most - taken, 0)), most, np.where(on, found.cost, 0.0), second))
    items = request.items["item"].to_pylist() if caps.stock else []
    places = [(name, _place("item", name, items)) for name in sorted(caps.stock)]
    for name, number in places if len(places) <= _ITEMS else ():
        left = int(seen.shelf.stock.items[number])
        use = (found.valid & (found.item == number)).astype(np.float64)
        told.append(Limit(f"item:{name}", float(left), left, use, use))
    return told


def squares(found: Candidates) -> np.ndarray:
    """Second moment of what each candidate costs: a coupon costs all of its discount, or nothing; (customers, slots)."""
    paid = np.maximum(found.cost - found.contact, 0.0)
    off = np.maximum(found.worst - found.contact, paid)
    return np.where(found.valid, found.contact**2 + 2 * found.contact * paid + paid * off, 0.0)


def tolls(told: Sequence[Limit], prices: Mapping[str, float]) -> np.ndarray | None:
    """What the candidates pay for the limits that they use; None without limits. A day without a price pays the channel's dearest."""
    if not told:
        return None
    total = np.zeros(told[0].use.shape)
    for one in told:
        total += prices.get(one.name, max(_others(prices, one.name), default=0.0)) * one.use
    return total


def reach(seen: Scene, told: Sequence[Limit], treat: np.ndarray) -> dict[str, float]:
    """The share of the customers that keeps what uses a limit: below 1 where the floor alone would use more than half of it."""
    floor, z, shares = seen.request.floor, seen.request.reserve_z, {one.name: 1.0 for one in told}
    for one in told:
        if one.name.startswith("item:"):
            continue  # pieces have a cut of their own: scarcity
        use, second = (array[treat] * floor for array in (one.use, one.second))
        mean = float(use.sum())
        spread = float(np.sqrt(max(float((second.sum(axis=1) - use.sum(axis=1) ** 2).sum()), 0.0)))
        if mean == 0 or mean + z * spread <= one.free / 2:
            continue
        low, high = 0.0, 1.0
        for _ in range(40):
            share = (low + high) / 2
            low, high = (share, high) if mean * share + z * spread * np.sqrt(share) <= one.free / 2 else (low, share)
        shares[one.name] = low
    return shares


def beyond(seen: Scene, told: Sequence[Limit], shares: Mapping[str, float], ids: list[str]) -> np.ndarray:
    """Which candidates the ``shares`` of :func:`reach` leave to others; bool (customers, slots)."""
    lost = np.zeros(told[0].use.shape, dtype=bool)
    for one in told:
        share = shares.get(one.name, min(_others(shares, one.name), default=1.0))
        if share < 1.0:
            lost |= (one.use > 0) & (uniforms(seen.request.seed, ids, purpose=f"reach:{one.name}") >= share)[:, None]
    return lost


def solve(
    request: Request, found: Candidates, bonus: np.ndarray | None, draws: np.ndarray, treat: np.ndarray, told: Sequence[Limit]
) -> Prices:
    """The prices of the budget and of all limits together; see the module."""
    everyone = np.flatnonzero(treat & found.valid.any(axis=1))
    held = [one for one in told if not one.name.startswith("item:") or np.count_nonzero(one.use[everyone].any(axis=1)) > one.free]
    every = [Limit(BUDGET, float(request.budget), request.budget, found.cost, squares(found)), *held]
    if not len(everyone):
        return Prices(1.0, {one.name: 0.0 for one in told})
    values, uses, floored = _sampled(request, found, bonus, draws, everyone, every)

    def outcome(price: np.ndarray) -> tuple[np.ndarray, float]:
        """What the policy at ``price`` holds of every limit, and its expected profit."""
        toll = tolls(held, dict(zip((one.name for one in held), price[1:].tolist(), strict=True)))
        choices = Choices(found.value, found.sd, found.cost, found.valid, bonus, toll).rows(everyone)
        shares, won = wins(choices, draws, price=1.0 + float(price[0]))
        chances = propensities(shares, found.valid[everyone], floor=request.floor)
        return np.array([sum(expected(one, chances, everyone, request.reserve_z)) for one in every]), float(won.sum())

    # Pieces of an item may be too few even for the floor; who keeps it as a candidate is then cut (scarcity).
    free = np.maximum([one.free for one in every], 1.25 * outcome(np.full(len(every), _DEAREST))[0])
    room, best, earned = free.copy(), np.full(len(every), _DEAREST), -np.inf
    for _ in range(_ROUNDS):
        resources = [Resource(one.name, max(left, 0.0), use) for one, left, use in zip(every, room - floored, uses, strict=True)]
        prices = allocate_many(values, resources, tolerance=_TOLERANCE).prices
        price = np.minimum([prices[one.name] for one in every], _DEAREST)
        used, won = outcome(price)
        room = np.maximum(room + np.where((price > 0) | (used > free), free - used, 0.0), 0.0)
    for step in range(_STEPS):
        fits = bool((used <= free).all())
        if fits and won > earned:
            best, earned = price, won
        if fits and ((price == 0) | (used >= _NEAR * free)).all():
            break
        # What is exceeded gets dearer, what is left over cheaper, by less and less.
        push = np.clip(used / np.maximum(free * (1 + _NEAR) / 2, 1e-9), 0.2, 5.0) ** (1.0 / (1.0 + step / 4))
        price = np.minimum(np.where(used > free, np.maximum(price, 1e-3), price) * push, _DEAREST)
        used, won = outcome(price)
    while not np.isfinite(earned) and price.max() < _DEAREST:  # no step fitted every limit
        price = np.minimum(np.where(used > free, np.maximum(price, 1e-3) * 1.2, price), _DEAREST)
        used, won = outcome(price)
        if (used <= free).all():
            best, earned = price, won
    paid = dict(zip((one.name for one in held), best[1:].tolist(), strict=True))
    return Prices(1.0 + float(best[0]), {one.name: paid.get(one.name, 0.0) for one in told})


def _sampled(
    request: Request, found: Candidates, bonus: np.ndarray | None, draws: np.ndarray, everyone: np.ndarray, every: Sequence[Limit]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Profit and use of (customer, draw) rows, weighted by what the floor leaves; and what the floor uses of every limit."""
    per = int(np.clip(_ROWS // len(everyone), 1, DRAWS))
    turn = (7 * np.arange(len(everyone))[:, None] + np.arange(per) * (DRAWS // per)) % DRAWS
    who, turn = np.repeat(everyone, per), turn.ravel()
    valid = found.valid[who]
    weight = ((1.0 - request.floor * (1 + valid.sum(axis=1))) / per)[:, None]
    score = found.value[who] + found.sd[who] * draws[turn] - found.cost[who]
    if bonus is not None:
        score = score + bonus[who, None]
    floored = np.array([request.floor * float(one.use[everyone].sum()) for one in every])
    return np.where(valid, score * weight, -np.inf), [one.use[who] * weight for one in every], floored


def expected(one: Limit, chances: np.ndarray, who: np.ndarray, z: float) -> tuple[float, float]:
    """Expected use by the customers ``who`` with their ``chances``, and ``z`` standard deviations of it."""
    mean = (chances[:, 1:] * one.use[who]).sum(axis=1)
    spread = np.maximum((chances[:, 1:] * one.second[who]).sum(axis=1) - mean**2, 0.0)
    return float(mean.sum()), z * float(np.sqrt(spread.sum()))


def late(told: Sequence[Limit], slot: np.ndarray, acting: np.ndarray, *, money: np.ndarray | None = None) -> np.ndarray:
    """Which of the customers ``acting``, in this order, come too late for a limit; bool.

    With ``money`` (what each holds of the budget) the limits of money are looked at, without it those of messages.
    """
    found = np.zeros(len(acting), dtype=bool)
    for one in told:
        if one.name.startswith(SPEND) != (money is not None):
            continue
        takes = (one.use[acting, slot] > 0) & ~found
        amount = np.where(takes, 1.0 if money is None else money, 0.0)
        found |= takes & (np.cumsum(amount) > one.free)
    return found


def report(
    told: Sequence[Limit], prices: Prices, chances: np.ndarray, acting: np.ndarray, slot: np.ndarray, reserved: np.ndarray, z: float
) -> dict[str, dict[str, float]]:
    """Per limit: what was free, expected, really taken after the draw, and the price; ``chances`` of all who are treated or not."""
    everyone, rows = np.arange(len(chances)), {}
    for one in told:
        mean, safety = expected(one, chances, everyone, z)
        takes = one.use[acting, slot] > 0
        used = float(reserved[acting][takes].sum()) if one.name.startswith(SPEND) else float(takes.sum())
        rows[one.name] = {"free": one.free, "expected": mean, "safety": safety, "used": used, "price": prices.of.get(one.name, 0.0)}
    return rows


def spend(budget_id: str, offer: str) -> str:
    """How the ledger names the money of an offer in a budget."""
    return f"{SPEND}{budget_id}|{offer}"


def there(told: Sequence[Limit], *, budget_id: str) -> dict[str, int]:
    """What there is of every limit, by its name in the ledger: what a commit checks. Pieces of items are scarcity's."""
    named = {one.name: spend(budget_id, one.name.removeprefix(SPEND)) if one.name.startswith(SPEND) else one.name for one in told}
    return {named[one.name]: one.there for one in told if not one.name.startswith("item:")}


def claims(row: Mapping[str, Any], left: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """What one chosen row of a plan takes of the things in ``left``: the thing's name and how much."""
    for thing in (f"item:{row['item']}", f"offer:{row['offer']}", f"channel:{row['channel']}:{row['send_at']:%Y-%m-%d}"):
        if thing in left:
            yield thing, 1
    for thing in left:
        if thing.startswith(SPEND) and thing.rpartition("|")[2] == row["offer"] and row["reserved"]:
            yield thing, int(row["reserved"])


def text(meta: Mapping[str, Any]) -> list[str]:
    """The certificate of a plan with limits, in lines to print; none without limits."""
    told = meta.get("caps", {})
    if not told:
        return []
    proof = meta["certificate"]
    head = f"  limits: expected profit {proof['primal']:,.0f}, at most {proof['bound']:,.0f} by the dual bound (gap {proof['gap']:,.0f})"
    lines = [f"{head}; exceeded by {proof['violation']:,.0f}"]
    return lines + [
        f"    {name}: {one['used']:,.0f} of {one['free']:,.0f} taken, {one['expected']:,.1f} expected, price {one['price']:.3f}"
        for name, one in told.items()
    ]


def _others(known: Mapping[str, float], name: str) -> list[float]:
    """What is known of a channel's other days."""
    channel = name.rpartition(":")[0] + ":"
    return [value for other, value in known.items() if other.startswith(channel)] if name.startswith("channel:") else []


def _counted(request: Request, name: str, most: int, on: np.ndarray) -> Limit:
    use = on.astype(np.float64)
    return Limit(name, float(max(most - request.promised.get(name, 0), 0)), most, use, use)


def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"


def _place(what: str, name: str, known: Sequence[str]) -> int:
    try:
        return known.index(name)
    except ValueError:
        raise unknown(what, name, known) from None
