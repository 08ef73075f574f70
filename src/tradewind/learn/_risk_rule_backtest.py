"""What rules would have done in the past: fire rate, precision, recall, money, overlap, and whom they would newly have stopped.

The columns are features as of each moment, so that a rule sees no more than it would have seen. The labels are those of
``risk.truth``: 1 fraud, 0 good, NaN where it is too early to say, which enters neither precision nor recall.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._risk_rule_columns import Bools, fired, verdicts
from tradewind.learn.risk_rules import VERDICTS, Rule
from tradewind.stats.experiment import proportion
from tradewind.types import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Backtest:
    """One rule on history. Money in minor units; ``precision`` and ``recall`` over moments whose truth is known.

    ``newly``: customers whom this rule stops or holds up, and whom the acting rules would have treated more mildly every time it
    fires; ``newly_good``: those of them of whom no fraud is known and something is known to be good.
    """

    rule: str
    digest: str
    verdict: str
    rows: int
    fired: int
    judged: int
    caught: int
    precision: Estimate
    recall: Estimate
    money_caught: int
    money_share: float  # of all money known to be fraud; NaN where there is none
    money_good: int  # of good moments that it stops or holds up
    newly: int
    newly_good: int
    overlap: Mapping[str, float]  # other rule -> share of this rule's hits where it fires, too

    @property
    def fire_rate(self) -> float:
        """Share of all moments at which it fires."""
        return self.fired / self.rows

    def figures(self) -> dict[str, Any]:
        """For JSON; what is not known is None."""
        told = {**asdict(self), "fire_rate": self.fire_rate, "money_share": None if np.isnan(self.money_share) else self.money_share}
        for name in ("precision", "recall"):
            one: Estimate = getattr(self, name)
            told[name] = None if np.isnan(one.value) else one.value
            told[f"{name}_low"], told[f"{name}_high"] = one.low, one.high
        return told


def backtest(
    rules: Sequence[Rule],
    columns: Mapping[str, Any] | pa.Table,
    label: Floats,
    amount: NDArray[np.int64],
    *,
    kinds: Mapping[str, str],
    customer: Sequence[str | None] | None = None,
    acting: Collection[str] = (),
) -> list[Backtest]:
    """What each rule would have done, in the order of ``rules``.

    ``columns``: features of n moments; ``label`` [n] is 1, 0 or NaN; ``amount`` [n] minor units; ``customer`` [n] who acts (default:
    somebody else each time); ``acting``: names of the rules that act today.

    Raises
    ------
    InputError
        There are no moments, or columns do not fit.
    """
    label, amount = np.asarray(label, dtype=np.float64), np.asarray(amount, dtype=np.int64)
    if not len(label):
        raise InputError("A backtest needs history: there is no order and no claim in that time. Collect events, or ask for more days.")
    hits = fired(rules, columns, kinds)
    if not len(label) == len(amount) == hits.shape[1]:
        raise InputError(f"label, amount and columns need one row per moment; got {len(label)}, {len(amount)} and {hits.shape[1]}.")
    history = _History(hits, np.packbits(hits, axis=1), label, amount, _people(customer, len(label)))
    acts = [number for number, rule in enumerate(rules) if rule.name in acting]
    return [_one(rules, number, acts, history) for number in range(len(rules))]


class _History(NamedTuple):
    hits: Bools  # [rules, n]
    packed: NDArray[np.uint8]  # the same, eight to a byte
    label: Floats
    amount: NDArray[np.int64]
    people: NDArray[np.int64]


def _one(rules: Sequence[Rule], number: int, acts: Sequence[int], history: _History) -> Backtest:
    hits, packed, label, amount, people = history
    rule, hit = rules[number], hits[number]
    bad, good = label == 1.0, label == 0.0
    judged, caught = hit & (bad | good), hit & bad
    all_bad = int(amount[bad].sum())
    others = [each for each in acts if each != number]
    before = verdicts([rules[each] for each in others], hits[others])
    new = np.unique(people[hit & (before < VERDICTS.index(rule.verdict))])
    new = np.setdiff1d(new, people[hit & (before >= VERDICTS.index(rule.verdict))])
    count = int(hit.sum())
    both = np.bitwise_count(packed & packed[number]).sum(axis=1, dtype=np.int64)
    return Backtest(
        rule.name,
        rule.digest,
        rule.verdict,
        rows=len(hit),
        fired=count,
        judged=int(judged.sum()),
        caught=int(caught.sum()),
        precision=_share("precision", bad[judged], people[judged]),
        recall=_share("recall", hit[bad], people[bad]),
        money_caught=int(amount[caught].sum()),
        money_share=float(amount[caught].sum() / all_bad) if all_bad else float("nan"),
        money_good=int(amount[hit & good].sum()),
        newly=len(new),
        newly_good=len(np.setdiff1d(np.intersect1d(new, people[good]), people[bad])),
        overlap={rules[each].name: both[each] / count for each in np.flatnonzero(both).tolist() if each != number},
    )


def _people(customer: Sequence[str | None] | None, rows: int) -> NDArray[np.int64]:
    """A number for each customer; moments of nobody in particular are each somebody else's."""
    if customer is None:
        return np.arange(rows)
    if len(customer) != rows:
        raise InputError(f"customer: needs one value per moment, {rows:,}; got {len(customer):,}.")
    codes = pa.array(customer, pa.string(), from_pandas=True).dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.where(codes < 0, rows + np.arange(rows), codes).astype(np.int64)


def _share(name: str, yes: Bools, people: NDArray[np.int64]) -> Estimate:
    """A share with Wilson's interval at the size that is left if all moments of a customer say the same (Kish's n)."""
    if not len(yes):
        return proportion(0, 0, name=name)
    sizes = np.unique(people, return_counts=True)[1].astype(np.float64)
    size = max(1, round(sizes.sum() ** 2 / (sizes**2).sum()))
    share = float(yes.mean())
    found = proportion(round(share * size), size, name=name)
    assert found.low is not None
    assert found.high is not None
    return replace(found, value=share, low=min(found.low, share), high=max(found.high, share), n=len(yes))
