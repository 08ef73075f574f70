"""Live pacing: one price of money that follows the spend, so that a budget lasts exactly as long as it should.

Dual mirror descent (Balseiro, Lu and Mirrokni 2020, The best of many worlds: dual mirror descent for online allocation
problems) on the price that the batch solver computes: after every opportunity

    price *= exp(-eta * (target - spend) / target)        target = what is left / opportunities still to come

so overspending makes money dearer and underspending cheaper. The target is planned anew each time: money that was saved early is
spent later. The price only steers; the stop is hard: what does not fit into what is left is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from tradewind.engine import ledger as books
from tradewind.errors import InputError

ETA = 0.01
_STRIDE = 1.0  # the price moves at most by a factor of e in one step
_SPAN = 1e6  # and never farther than this from where it started: it must be able to come back


@dataclass(frozen=True, slots=True)
class Pace:
    """A paced budget between two opportunities: what is left of money and of opportunities, and the price of money now.

    ``left`` is in the unit of the costs (minor units when it mirrors a ledger's budget); ``low`` and ``high`` bound the price.
    """

    left: float
    opportunities: float
    price: float
    eta: float
    low: float
    high: float

    @property
    def target(self) -> float:
        """What the next opportunity may cost on average; all that is left when none was expected any more."""
        return self.left / max(self.opportunities, 1.0)


def start(budget: float, opportunities: float, *, price: float, eta: float = ETA, floor: float = 0.0) -> Pace:
    """A budget for a number of expected opportunities, beginning at ``price`` (from the batch or ``price_from_sample``).

    ``floor`` is the lowest price: 1 when values and costs are both money, so that nothing is bought above its value however much money
    is left; 0 when the budget shall be spent.

    Raises
    ------
    InputError
        The budget or the floor is negative, or price, eta or opportunities are not positive.
    """
    if not (0 <= budget < math.inf and 0 <= floor < math.inf):
        raise InputError(f"pacing: budget and floor must be 0 or more; got {budget} and {floor}.")
    if not (0 < opportunities < math.inf and 0 < eta < math.inf):
        raise InputError(f"pacing: opportunities and eta must be positive; got {opportunities} and {eta}.")
    price = max(price, floor)
    if not 0 < price < math.inf:
        raise InputError(f"pacing: the first price must be positive; got {price}. Where money was not scarce, give a floor, such as 1.")
    return Pace(budget, opportunities, price, eta, max(floor, price / _SPAN), price * _SPAN)


def bid(pace: Pace, value: float) -> float:
    """The most that ``value`` is worth at the price of money, and never more than is left."""
    return min(max(value, 0.0) / pace.price, pace.left)


def choose(pace: Pace, values: Sequence[float], costs: Sequence[float]) -> int:
    """The action of the greatest ``value - price * cost`` among those that can be paid; -1 (nothing) unless it is positive.

    ``costs`` are what the actions can cost at worst, since each of them may be taken; the first of equal ones wins.
    """
    best, at = 0.0, -1
    for index, (value, cost) in enumerate(zip(values, costs, strict=True)):
        score = value - pace.price * cost
        if score > best and 0 <= cost <= pace.left:
            best, at = score, index
    return at


def paid(pace: Pace, spend: float, *, opportunities: int = 1) -> Pace:
    """The state after ``opportunities`` that cost ``spend`` in all; call it also when nothing was spent.

    Raises
    ------
    InputError
        More was spent than was left, or the spend is negative: ask ``bid`` or ``choose`` first.
    """
    if not 0 <= spend <= pace.left:
        raise InputError(f"pacing: spent {spend} of {pace.left} left. Spend only what bid or choose allows, and nothing negative.")
    if opportunities < 1:
        raise InputError(f"pacing: at least one opportunity must have passed; got {opportunities}.")
    target = pace.target * opportunities
    # Without money left there is nothing to steer.
    push = pace.eta * opportunities * (spend - target) / target if target > 0 else 0.0
    price = pace.price * math.exp(min(max(push, -_STRIDE), _STRIDE))
    return replace(
        pace,
        left=pace.left - spend,
        opportunities=max(pace.opportunities - opportunities, 0.0),
        price=min(max(price, pace.low), pace.high),
    )


def replan(pace: Pace, *, left: float | None = None, opportunities: float | None = None) -> Pace:
    """The same price with what the ledger says is left, or with a new forecast of opportunities; None keeps what is there."""
    left = pace.left if left is None else left
    opportunities = pace.opportunities if opportunities is None else opportunities
    if not (0 <= left < math.inf and 0 <= opportunities < math.inf):
        raise InputError(f"pacing: left and opportunities must be 0 or more; got {left} and {opportunities}.")
    return replace(pace, left=left, opportunities=opportunities)


def left_of(conn: Connection, budget: str) -> int:
    """What a ledger's budget has left, in minor units: amount less reserved less spent.

    Raises InputError when there is no such budget.
    """
    table = books.budgets
    row = conn.execute(select(table).where(table.c.budget == budget)).mappings().first()
    if row is None:
        raise InputError(f'There is no budget "{budget}" in the ledger. Commit a plan with that budget_id first.')
    return int(row["amount"] - row["reserved"] - row["spent"])


def hold(conn: Connection, budget: str, decision_id: str, amount: int) -> bool:
    """Reserve minor units for one live decision inside the caller's transaction; False, and nothing held, when they are not there.

    One conditional update decides, whoever else spends at the same time. A decision that holds already is not held twice (True).
    ``commit.settle`` turns the reservation into what was spent.

    Raises InputError when the amount is negative.
    """
    if amount < 0:
        raise InputError(f"pacing: hold 0 or more minor units; got {amount}.")
    row = {"decision_id": decision_id, "budget": budget, "amount": amount, "state": "held", "spent": 0}
    table, held = books.budgets, books.reservations
    if conn.execute(select(held.c.decision_id).where(held.c.decision_id == decision_id)).first() is not None:
        return True
    fits = table.c.reserved + table.c.spent + amount <= table.c.amount
    taken = conn.execute(update(table).where(table.c.budget == budget, fits).values(reserved=table.c.reserved + amount))
    if taken.rowcount != 1:
        return False
    if not books.insert_new(conn, held, [row]):  # another writer held this decision meanwhile: give back what was taken twice
        conn.execute(update(table).where(table.c.budget == budget).values(reserved=table.c.reserved - amount))
    return True
