"""What a customer will do next, read off the customer vector of a deep model: one small calibrated head per question.

The encoder stays as it is; a head is a (multinomial) logistic regression on its vector and a few counts that the vector does not
hold: how long ago, how many, at which hours. So every head is fitted in seconds, answers with probabilities, and a new question
needs no new network (linear probes: Alain and Bengio 2016; one vector for many tasks: PinnerFormer, Pancha et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn import _store
from tradewind.learn._deep import Deep
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.params import Number, Rule, check
from tradewind.types import from_micros, micros

__all__ = ["DAYS", "Heads", "Outlook"]

Values = NDArray[np.float64]
DAY = 86_400_000_000
DAYS = (1.0, 2.0, 4.0, 7.0, 14.0)  # ends of the steps in which the next purchase is looked for; the horizon ends the last
STRENGTHS = (0.001, 0.01, 0.1)  # inverse ridge penalties to choose from
ENOUGH = 50  # customers of a cut, below which there is nothing to learn
BUY = KINDS.index("purchase")
MOST = 20_000  # customers per cut that a head learns from


@dataclass(frozen=True)
class Outlook:
    """Answers for U customers, probabilities unless said otherwise.

    ``purchase`` [U]: buys within the horizon; ``churn`` [U]: does nothing at all within it; ``days`` [U]: median days to the next
    purchase, NaN where more likely than not there is none; ``kinds`` [U, kinds]: kind of the next event; ``hours`` [U, 24]: UTC hour
    of the next event.
    """

    purchase: Values
    churn: Values
    days: Values
    kinds: Values
    hours: Values

    @property
    def best_hour(self) -> NDArray[np.int64]:
        """The most probable UTC hour of the next event, int64 [U]."""
        return np.asarray(self.hours.argmax(axis=1), dtype=np.int64)


class Heads:
    """Purchase, churn, time to purchase, next kind and best hour for a deep model's customers.

    ``horizon_days`` is how far the questions look; ``cuts`` moments of the past, half a horizon apart, are learned from. The
    latest of them chooses the strength of the penalty. When not to use: where the model has learned from the very days that the
    heads learn from, its vectors know more about those days than they will know about the next ones; fit the model up to
    ``as_of - horizon`` for the heads (or accept overconfident answers).
    """

    rules: ClassVar[dict[str, Rule]] = {
        "horizon_days": Number(1, 730),
        "cuts": Number(1, 50, whole=True),
        "seed": Number(0, 2**31, whole=True),
    }

    def __init__(self, *, horizon_days: float = 28, cuts: int = 3, seed: int = 0) -> None:
        self.horizon_days, self.cuts, self.seed = horizon_days, cuts, seed
        self._heads: dict[str, _Head] = {}

    def fit(self, model: Deep, log: Sequences, *, as_of: datetime) -> Self:
        """Learn from what the customers of ``log`` did within the horizon after each cut; nothing from ``as_of`` on is looked at.

        Raises
        ------
        InputError
            A parameter is out of range, or fewer than 50 customers had a history at the latest cut.
        """
        check(type(self).__name__, {name: getattr(self, name) for name in self.rules}, self.rules)
        past = log.before(as_of)
        horizon = timedelta(days=self.horizon_days)
        found = [self._rows(model, past, as_of - horizon - number * horizon / 2) for number in reversed(range(self.cuts))]
        parts = [part for part in found if part is not None]
        if not parts:
            raise InputError(
                f"Heads: fewer than {ENOUGH} customers had a history {self.horizon_days:g} days before {as_of.isoformat()}. "
                "Give a longer log or a shorter horizon."
            )
        self._heads = {
            name: _Head.fit([(x, labels[name]) for x, labels in parts]) for name in ("purchase", "active", "days", "kind", "hour")
        }
        self._dim = parts[0][0].shape[1]
        return self

    def _rows(self, model: Deep, past: Sequences, cut: datetime) -> tuple[Values, dict[str, NDArray[np.int64]]] | None:
        before, after = past.split(cut)
        known = np.flatnonzero(before.lengths > 0)
        if len(known) < ENOUGH:
            return None
        rows = np.sort(np.random.default_rng(self.seed).permutation(known)[:MOST])
        return _features(model, before.rows(rows), micros(cut)), self._labels(after.rows(rows), micros(cut))

    def _labels(self, after: Sequences, cut: int) -> dict[str, NDArray[np.int64]]:
        """Classes of every question, int64 [U]; -1 where there is no answer to learn from."""
        after = after.before(from_micros(cut + int(self.horizon_days * DAY)))
        has = after.lengths > 0
        first = np.where(has, after.offsets[:-1], 0)
        bought = np.full(len(after), np.inf)
        buys = np.flatnonzero(after.kind == BUY)
        np.minimum.at(bought, after.owner[buys], (after.at[buys] - cut) / DAY)
        if not len(after.at):
            nothing = np.full(len(after), -1)
            kind, hour = nothing, nothing
        else:
            kind = np.where(has, after.kind[first].astype(np.int64), -1)
            hour = np.where(has, after.at[first] // 3_600_000_000 % 24, -1)
        return {
            "purchase": np.isfinite(bought).astype(np.int64),
            "active": has.astype(np.int64),
            "days": np.where(np.isfinite(bought), np.searchsorted(self._steps(), bought), len(self._steps())).astype(np.int64),
            "kind": kind,
            "hour": hour,
        }

    def _steps(self) -> Values:
        """Ends of the steps of time to purchase, in days; the last is the horizon."""
        return np.array([*(day for day in DAYS if day < self.horizon_days), self.horizon_days])

    def predict(self, model: Deep, histories: Sequences, *, as_of: datetime) -> Outlook:
        """The outlook at ``as_of`` of every customer of ``histories``; one without a history gets the average of all.

        Raises
        ------
        NotFitted, InputError
            The heads have learned nothing yet, or from a model of another width.
        """
        if not self._heads:
            raise NotFitted("These heads have learned nothing yet. Call fit(model, log, as_of=...) first.")
        before = histories.before(as_of)
        x = _features(model, before, micros(as_of))
        if x.shape[1] != self._dim:
            raise InputError("These heads were fitted to a model of another size. Fit them to this one.")
        cold = before.lengths == 0
        say = {name: head.probabilities(x, cold) for name, head in self._heads.items()}
        return Outlook(
            purchase=_column(say["purchase"], self._heads["purchase"], 1),
            churn=_column(say["active"], self._heads["active"], 0),
            days=self._median(say["days"]),
            kinds=_spread(say["kind"], self._heads["kind"], len(KINDS)),
            hours=_spread(say["hour"], self._heads["hour"], 24),
        )

    def _median(self, shares: Values) -> Values:
        """When the distribution over steps reaches one half, linear within a step; NaN where it does not within the horizon."""
        ends = self._steps()
        full = _spread(shares, self._heads["days"], len(ends) + 1)
        reached = np.cumsum(full[:, :-1], axis=1)
        step = (reached < 0.5).sum(axis=1)
        inside = np.minimum(step, len(ends) - 1)
        rows = np.arange(len(full))
        starts = np.concatenate(([0.0], ends[:-1]))
        already = np.where(inside > 0, reached[rows, np.maximum(inside - 1, 0)], 0.0)
        part = (0.5 - already) / np.maximum(full[rows, inside], 1e-12)
        return np.where(step < len(ends), starts[inside] + part * (ends - starts)[inside], np.nan)

    def save(self, path: Path) -> None:
        """Write the heads to the folder ``path``; the model is saved by itself."""
        arrays = {f"{name}.{field}": array for name, head in self._heads.items() for field, array in vars(head).items()}
        values = {"name": "heads", "params": {name: getattr(self, name) for name in self.rules}, "dim": self._dim}
        _store.write(Path(path), values, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The heads in the folder ``path``."""
        values, arrays = _store.read(Path(path))
        heads = cls(**values["params"])
        heads._dim = int(values["dim"])
        names = dict.fromkeys(name.partition(".")[0] for name in arrays)
        heads._heads = {
            name: _Head(**{key.partition(".")[2]: arrays[key] for key in arrays if key.startswith(f"{name}.")}) for name in names
        }
        return heads


@dataclass(frozen=True)
class _Head:
    """Multinomial logistic regression on standardised columns over the ``classes`` [C] that occurred, with their shares [C]."""

    classes: NDArray[np.int64]
    share: Values
    mean: Values
    scale: Values
    weight: Values  # [C, F]
    bias: Values

    @classmethod
    def fit(cls, parts: list[tuple[Values, NDArray[np.int64]]]) -> Self:
        """``parts``: rows and classes by cut, oldest first; rows of class -1 are left out."""
        kept = [(x[y >= 0], y[y >= 0]) for x, y in parts]
        x, y = np.concatenate([x for x, _ in kept]), np.concatenate([y for _, y in kept])
        if not len(y):
            x, y = np.zeros((1, parts[0][0].shape[1])), np.zeros(1, np.int64)
        classes, counts = np.unique(y, return_counts=True)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        share = counts / counts.sum()
        if len(classes) == 1:
            return cls(classes, share, mean, scale, np.zeros((1, x.shape[1])), np.zeros(1))
        strength = STRENGTHS[1]
        if len(kept) > 1 and len(kept[-1][1]):
            older = [np.concatenate(each) for each in zip(*kept[:-1], strict=True)]
            losses = [
                _loss(_regression((older[0] - mean) / scale, older[1], value), (kept[-1][0] - mean) / scale, kept[-1][1])
                for value in STRENGTHS
            ]
            strength = STRENGTHS[int(np.argmin(losses))]
        weight, bias, seen = _regression((x - mean) / scale, y, strength)
        assert np.array_equal(seen, classes)
        return cls(classes, share, mean, scale, weight, bias)

    def probabilities(self, x: Values, cold: NDArray[np.bool_]) -> Values:
        """Float64 [U, C]; where ``cold``, the shares of the classes."""
        if len(self.classes) == 1:
            return np.ones((len(x), 1))
        logits = (x - self.mean) / self.scale @ self.weight.T + self.bias
        return np.where(cold[:, None], self.share, _softmax(logits))


def _regression(x: Values, y: NDArray[np.int64], strength: float) -> tuple[Values, Values, NDArray[np.int64]]:
    """Weights [C, F], biases [C] and classes [C]; two classes get a row each, too."""
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(y)
    if len(classes) == 1:
        return np.zeros((1, x.shape[1])), np.zeros(1), classes
    model = LogisticRegression(C=strength, max_iter=500).fit(x, y)
    weight, bias = model.coef_, model.intercept_
    if len(classes) == 2:
        weight, bias = np.concatenate((np.zeros_like(weight), weight)), np.append(np.zeros(1), bias)
    return weight, bias, classes


def _loss(fitted: tuple[Values, Values, NDArray[np.int64]], x: Values, y: NDArray[np.int64]) -> float:
    """Mean log loss; a class that the fit has never seen costs what one in a thousand costs."""
    weight, bias, classes = fitted
    shares = _softmax(x @ weight.T + bias)
    place = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    told = np.where(classes[place] == y, shares[np.arange(len(y)), place], 1e-3)
    return float(-np.log(np.maximum(told, 1e-12)).mean())


def _softmax(logits: Values) -> Values:
    strength = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(strength / strength.sum(axis=1, keepdims=True))


def _spread(shares: Values, head: _Head, width: int) -> Values:
    """Probabilities over all ``width`` classes, zero for those that never occurred."""
    out = np.zeros((len(shares), width))
    out[:, head.classes] = shares
    return out


def _column(shares: Values, head: _Head, wanted: int) -> Values:
    return _spread(shares, head, 2)[:, wanted]


def _features(model: Deep, histories: Sequences, now: int) -> Values:
    """The customer vector and what it does not know: times since, counts, hours and kinds of the customer's events. [U, F]."""
    count = histories.lengths
    owner, at = histories.owner, histories.at
    users = len(histories)
    buys = histories.kind == BUY
    last, last_buy, first = np.zeros(users), np.zeros(users), np.full(users, float(now))
    np.maximum.at(last, owner, at)
    np.maximum.at(last_buy, owner[buys], at[buys])
    np.minimum.at(first, owner, at)
    bought = np.bincount(owner[buys], minlength=users)
    hours = np.zeros((users, 24))
    np.add.at(hours, (owner, at // 3_600_000_000 % 24), 1.0)
    kinds = np.zeros((users, len(KINDS)))
    np.add.at(kinds, (owner, histories.kind), 1.0)
    total = np.maximum(count, 1)[:, None]
    since = [np.log1p(np.maximum(now - when, 0) / DAY) for when in (last, np.where(bought > 0, last_buy, first), first)]
    counts = [np.log1p(count), np.log1p(bought), bought > 0]
    plain: list[Any] = [*since, *counts]
    return np.column_stack((model.customer_vectors(histories).astype(np.float64), *plain, (hours + 1) / (total + 24), kinds / total))
