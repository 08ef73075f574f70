"""What is believed before anything was tried: the shop's own base rates and two stated assumptions.

* A customer buys within the window with probability ``P = 1 - exp(-rate * days)``; the rate is the customer's orders
  per day, shrunk to the shop's rate with the weight of ``SHRINK_DAYS`` days, then updated by the last thirty days.
* A message raises P by ``LIFT`` (relative) for the best recommended item, less for lower ranks; a discount of share
  d raises it by ``ELASTICITY * d``. Where the profiles say how readily each customer answers messages, the shop's mean P
  is shared out by that instead of by each customer's own: a message moves who answers it, not who buys anyway. These are
  assumptions, not findings: the prior around them is wide, and data of randomised decisions replace it.
* Where messages were clicked before, what followed the clicks takes the place of these assumptions (``learn/answers.py``): extra orders per
  message of the offer, and how much more or less a channel is answered.
* A coupon costs its discount whenever it is redeemed, and those who would have bought anyway redeem too
  (cannibalisation): expected cost = contact + P * coverage * (1 + ELASTICITY * d) * discount. ``coverage`` is the share of
  the customer's shortlist that the coupon is valid for. An offer that was sent before is expected to be redeemed as often as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tradewind.decide.features import doubles

LIFT = 0.05
ELASTICITY = 2.0
SHRINK_DAYS = 60.0
CAUSED = 0.5  # of what followed the clicks: clickers may have been about to buy, and whom a message drives away does not click
DOUBT = 1.0  # money scale of what may be learned beyond the prior, in units of the effect that is expected
ANSWERS = "answer_rate"  # column of the profiles: ``learn/answers.py``


def rate(profiles: pa.Table) -> float:
    """The shop's orders per customer and day."""
    days = np.maximum(column(profiles, "tenure_days", 0.0), 0.0).sum()
    return float(column(profiles, "frequency", 0.0).sum() / days) if days > 0 else 0.0


def buys(profiles: pa.Table, *, window_days: int, shop: float) -> np.ndarray:
    """P(a purchase within ``window_days``) per row without any message, from order counts; float64 in [0, 1).

    ``shop``: the :func:`rate` that rows are shrunk to.
    """
    orders = column(profiles, "frequency", 0.0)
    days = np.maximum(column(profiles, "tenure_days", 0.0), 0.0)
    found = (orders + SHRINK_DAYS * shop) / (days + SHRINK_DAYS)
    if "orders_30d" in profiles.column_names:
        found = (column(profiles, "orders_30d", 0.0) + SHRINK_DAYS * found) / (30.0 + SHRINK_DAYS)
    return np.asarray(1.0 - np.exp(-found * window_days))


def basket(profiles: pa.Table, *, typical: float) -> float:
    """The mean order amount over customers in minor units, ``typical`` where nobody has ordered."""
    found = column(profiles, "aov", np.nan)
    known = found[np.isfinite(found) & (found > 0)]
    return float(known.mean()) if known.size else typical


def baskets(profiles: pa.Table, *, shop: float) -> np.ndarray:
    """Expected order amount per row in minor units: the customer's mean, else the ``shop``'s."""
    found = column(profiles, "aov", np.nan)
    return np.where(np.isfinite(found) & (found > 0), found, shop)


def answers(profiles: pa.Table) -> float:
    """The mean answer rate of the customers; 0 where none is known."""
    found = column(profiles, ANSWERS, np.nan)
    known = found[np.isfinite(found)]
    return float(known.mean()) if known.size else 0.0


def relative(profiles: pa.Table, *, answers: float) -> np.ndarray:
    """Each customer's answer rate over the shop's mean ``answers``; 1 where it is unknown."""
    return column(profiles, ANSWERS, answers) / answers if answers else np.ones(profiles.num_rows)


def moved(buy: np.ndarray, *, mean: float, answers: float, relative: np.ndarray) -> np.ndarray:
    """The probability that a message multiplies: the shop's ``mean`` times the relative answer rate, ``buy`` where no answers are known."""
    return np.minimum(mean * relative, 1.0) if answers else buy


def margin_effect(
    buy: np.ndarray, unit_margin: np.ndarray, *, discount: np.ndarray, affinity: np.ndarray, coverage: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Prior mean of the incremental margin, before the discount is paid; minor units. ``buy`` as from :func:`moved`.

    ``known``: what :func:`extra_margin` expects of the customer, NaN where nothing is known; an item low on the list gets up to half less.
    """
    assumed = buy * unit_margin * (LIFT * affinity + ELASTICITY * discount * coverage)
    return np.asarray(np.where(np.isnan(known), assumed, known * (1.0 + affinity) / 2))


def extra_margin(extra: np.ndarray, *, relative: np.ndarray, basket: np.ndarray, share: float) -> np.ndarray:
    """Margin of the orders that messages led to, shared out by the answer rate; minor units (customers, offers).

    ``extra`` (offers): orders a message beyond those that would have come anyway, NaN where unknown; ``CAUSED`` of them is believed.
    ``relative`` and ``basket`` (customers): answer rate over the shop's, and expected order amount; ``share``: of it that is margin.
    """
    return np.asarray(CAUSED * extra[None, :] * (relative * basket * share)[:, None])


def scale(buys: np.ndarray, basket: np.ndarray, *, share: float, extra: Sequence[float]) -> float:
    """The money scale of what may be learned about effects, minor units, at least 1.

    The margin of a customer in a window, or ``DOUBT`` times that of the orders that messages led to where those are known.
    """
    if not len(buys):
        return 1.0
    assumed = float(np.mean(buys * basket)) * share
    known = DOUBT * CAUSED * float(np.mean(extra)) * float(np.mean(basket)) * share if extra else np.inf
    return max(min(assumed, known), 1.0)


def redemption(buy: np.ndarray, *, discount: np.ndarray, coverage: np.ndarray, seen: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Prior probability that the coupon is redeemed, by those who would have bought anyway too.

    ``seen``: how often the offer was redeemed so far, NaN where that is unknown; then everybody who buys is expected to. ``relative``: the
    customer's answer rate over the shop's.
    """
    assumed = buy * coverage * (1.0 + ELASTICITY * discount)
    return np.asarray(np.minimum(np.where(np.isnan(seen), assumed, seen * relative), 1.0))


def column(table: pa.Table, name: str, default: float) -> np.ndarray:
    """A numeric column as float64 with ``default`` where it is empty or missing."""
    if name not in table.column_names:
        return np.full(table.num_rows, default)
    return doubles(table[name], default)
