"""A live contextual bandit: posterior sampling over a logged shortlist, with floored propensities that are the true ones.

:meth:`Bandit.decide` answers one context from Python in some ten microseconds and logs what evaluation and learning need;
:meth:`Bandit.learn` takes rewards when they mature, in any order. The belief is a hierarchical linear model in closed form
(action <- attributes <- all), of plain or of bent features, with or without forgetting, whichever has predicted best. The rule
of the draw is that of :mod:`tradewind.decide.sampling`: ``DRAWS`` posterior draws, the propensity is ``floor + (1 - floor * actions)
* share of draws won``, and a number hashed from seed and decision id picks.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tradewind.decide._bandit_learner import Learner
from tradewind.decide._bandit_odds import SHORTLIST, Floors, Odds
from tradewind.decide._bandit_posterior import WIDTH
from tradewind.decide._pooled import pooled_rates
from tradewind.decide.hashing import uniforms
from tradewind.errors import InputError, NotFound, unknown
from tradewind.params import Number, check

__all__ = ["Bandit", "Record", "pooled_rates"]

DRAWS = 32  # posterior draws of a decision, in antithetic pairs
_SCALE = float(1 << 53)
_FLOAT = np.dtype(np.float64)
_PATTERNS = 64  # sets of eligible actions kept ready


class Record(NamedTuple):
    """One decision as it was taken: append it to a log, give it to :meth:`Bandit.learn` when the outcome is known.

    ``actions`` is the shortlist, ``propensities`` the probability with which each of it could have been chosen (sums to one),
    ``propensity`` that of the chosen ``action``; ``version`` counts the updates that the model had seen, ``number`` the decisions.
    """

    number: int
    id: str
    context: tuple[float, ...]
    actions: tuple[str, ...]
    propensities: tuple[float, ...]
    action: str
    propensity: float
    version: int


class Bandit:
    """Chooses an action per context and learns from what the chosen ones earned.

    Parameters
    ----------
    actions
        Names of the actions and the attributes that each is known by: ``{"a-mail": {"offer": "a", "channel": "email"}}``. A new
        offer or creative (:meth:`add`) begins with what its attributes predict.
    columns
        Names of the numbers of a context, in their order. Unknown values must be filled before (with the column's mean, say).
    seed
        Same seed and same calls: same decisions, byte for byte.
    floor
        Least propensity of every action on the shortlist, 0-1.
    floors
        Least propensity of every value of an attribute that is on the shortlist, summed over the actions that have it.
    waiting
        How many decisions without a reward are kept in mind; the oldest is forgotten and cannot be learned from.

    Sources: posterior sampling as in Agrawal and Goyal 2013 (Thompson sampling for contextual bandits with linear payoffs) from a
    hierarchical model as in Hong et al. 2022 (Hierarchical Bayesian bandits).

    When not to use: rewards that depend on earlier actions (fatigue, habits), thousands of actions at once, or fewer than some
    hundred rewards in all - then a randomised test of two or three actions says more.

    >>> bandit = Bandit({"mail": {}, "push": {}}, columns=("recency",), seed=1)
    >>> record = bandit.decide([0.5])
    >>> bandit.learn([record], [1.0])
    """

    def __init__(
        self,
        actions: Mapping[str, Mapping[str, str]],
        *,
        columns: Sequence[str],
        seed: int,
        floor: float = 0.01,
        floors: Mapping[str, float] | None = None,
        waiting: int = 1_000_000,
    ) -> None:
        check(
            "Bandit",
            {"seed": seed, "floor": floor, "waiting": waiting, "actions": len(actions), "columns": len(columns)},
            {"seed": Number(0, 2**64 - 1, whole=True), "floor": Number(0, 1), "waiting": Number(1, 10**9, whole=True),
             "actions": Number(1, 10_000, whole=True), "columns": Number(1, 1_000, whole=True)},
        )  # fmt: skip
        self.actions: dict[str, dict[str, str]] = {name: dict(attributes) for name, attributes in actions.items()}
        self.columns, self.seed, self.waiting = tuple(columns), seed, waiting
        self.version = self.dropped = self._decided = 0
        self._attributes: list[tuple[str, str]] = []
        self._floors = Floors(floor, dict(floors or {}), self.actions)
        self._pending: dict[int, str] = {}
        self._hash = hashlib.sha256(f"draw\x1f{seed}\x1f".encode())
        self._learner = Learner(len(self.columns), self._members(), seed=seed)
        self._gathered: list[tuple[float, ...]] = []  # the context, then action, reward and number of the decision
        self._check_floors()
        self._refresh()

    def decide(self, context: Sequence[float] | np.ndarray, *, id: str | None = None, eligible: Sequence[str] | None = None) -> Record:  # noqa: A002
        """Choose an action for one context.

        Parameters
        ----------
        context
            One finite number per column.
        id
            The decision's own id, which the draw is hashed from; the decision's number if there is none.
        eligible
            The actions that may be chosen; all if not given. With more than ten, those that win most draws are the shortlist.

        Raises
        ------
        InputError
            A context that does not fit or is not finite, no eligible action, an unknown one, floors that ask for more than one.
        """
        values, x = self._checked(context)
        odds = self._everything if eligible is None else self._odds(tuple(eligible))
        number = self._decided
        if id is None:
            id = str(number)  # noqa: A001
        state = self._hash.copy()
        state.update(id.encode())
        u = (int.from_bytes(state.digest()[:8], "big") >> 11) / _SCALE
        names, chances, at = odds.one(self._learner.features.one(x, bent=odds.bent), u)
        self._decided = number + 1
        self._pending[number] = id
        if len(self._pending) > self.waiting:
            del self._pending[next(iter(self._pending))]
            self.dropped += 1
        return Record(number, id, values, names, chances, names[at], chances[at], self.version)

    def learn(self, records: Sequence[Record], rewards: Iterable[float]) -> None:
        """Take the rewards of decisions, in any order, each once. Nothing is learned when one of them is refused.

        Raises
        ------
        InputError
            Not one finite reward per record, a record that this bandit did not write, or one that has its reward already.
        """
        earned = [float(reward) for reward in rewards]
        if len(earned) != len(records):
            raise InputError(f"Bandit.learn needs one reward per record; got {len(records)} records and {len(earned)} rewards.")
        if not isfinite(sum(earned)):
            raise InputError("Bandit.learn needs finite rewards; got NaN or infinity. Leave out decisions whose outcome is not known.")
        if len(records) > 1 and len({record.number for record in records}) < len(records):
            raise InputError("Bandit.learn got a record twice in one call; each decision has one reward.")
        for record in records:
            fits = record.action in self.actions and len(record.context) == len(self.columns)
            if self._pending.get(record.number) != record.id or not fits:
                raise self._refused(record)
        for record, reward in zip(records, earned, strict=True):
            del self._pending[record.number]
            self._gathered.append((*record.context, self._place[record.action], reward, record.number))
            if len(self._gathered) >= self._due:
                self._update()

    def add(self, name: str, attributes: Mapping[str, str]) -> None:
        """A new action, known by its attributes until it has rewards of its own.

        Raises
        ------
        InputError
            The name is known already.
        """
        if name in self.actions:
            raise InputError(f'Bandit.add: there is an action "{name}" already. A changed offer is a new action with a new name.')
        self._update()
        self.actions[name] = dict(attributes)
        self._learner.extend(self._members())
        self.version += 1
        self._refresh()

    def decide_many(
        self,
        contexts: np.ndarray,
        *,
        ids: Sequence[str] | None = None,
        eligible: Sequence[str] | None = None,
    ) -> list[Record]:
        """:meth:`decide` for every row of ``contexts`` (rows, columns), in one pass. Raises as :meth:`decide`."""
        x = self._matrix(contexts)
        if ids is not None and len(ids) != len(x):
            raise InputError(f"Bandit.decide_many needs one id per context; got {len(ids)} ids and {len(x)} contexts.")
        odds = self._odds(None if eligible is None else tuple(eligible))
        numbers = range(self._decided, self._decided + len(x))
        keys = [str(number) for number in numbers] if ids is None else list(ids)
        weighed = odds.many(self._learner.features.raw(x, bent=odds.bent), uniforms(self.seed, keys))
        found = [
            Record(number, key, tuple(values), names, chances, names[at], chances[at], self.version)
            for number, key, values, (names, chances, at) in zip(numbers, keys, x.tolist(), weighed, strict=True)
        ]
        self._decided += len(x)
        self._pending.update(zip(numbers, keys, strict=True))
        while len(self._pending) > self.waiting:
            del self._pending[next(iter(self._pending))]
            self.dropped += 1
        return found

    def expected(self, context: Sequence[float] | np.ndarray) -> dict[str, tuple[float, float]]:
        """Posterior mean of the expected reward of every action in ``context``, and its standard deviation as the draws show it."""
        f = self._learner.features.one(self._checked(context)[1], bent=bool(self._learner.champion[0]))
        scores = self._weights @ f
        center = float(self._learner.centers[self._learner.champion[1]])
        means, deviations = scores.mean(axis=0) + center, scores.std(axis=0) / WIDTH
        return {name: (float(mean), float(deviation)) for name, mean, deviation in zip(self.actions, means, deviations, strict=True)}

    def save(self, path: Path) -> None:
        """Write the bandit into the folder ``path`` (made if needed) as JSON and NumPy arrays; no pickle."""
        from tradewind.engine.files import atomic_write

        card, arrays = self._learner.state()
        card |= {name: getattr(self, name) for name in ("actions", "columns", "seed", "waiting", "version", "dropped")}
        card |= {"floor": self._floors.floor, "floors": self._floors.values, "decided": self._decided, "gathered": self._gathered}
        card["pending"] = list(self._pending.items())
        sink = io.BytesIO()
        np.savez(sink, card=np.frombuffer(json.dumps(card).encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        path.mkdir(parents=True, exist_ok=True)
        atomic_write(path / "bandit.npz", sink.getvalue())

    @classmethod
    def load(cls, path: Path) -> Bandit:
        """The inverse of :meth:`save`: goes on as if it had never been stopped.

        Raises
        ------
        NotFound
            No bandit was saved there.
        """
        if not (path / "bandit.npz").exists():
            raise NotFound(f"There is no bandit in {path}: bandit.npz is missing. Save one with Bandit.save.")
        with np.load(path / "bandit.npz", allow_pickle=False) as saved:
            arrays = dict(saved)
        card = json.loads(bytes(arrays["card"]).decode())
        found = cls(card["actions"], **{name: card[name] for name in ("columns", "seed", "floor", "floors", "waiting")})
        found._learner.restore(card, arrays)
        found.version, found.dropped, found._decided = card["version"], card["dropped"], card["decided"]
        found._pending = {int(number): name for number, name in card["pending"]}
        found._gathered = [tuple(row) for row in card["gathered"]]
        found._refresh()
        return found

    def flush(self) -> None:
        """Learn what is gathered now instead of with the next block of rewards."""
        self._update()

    def _update(self) -> None:
        if self._gathered:
            rows = np.array(self._gathered)
            self._gathered = []
            self._learner.learn(rows[:, :-3], rows[:, -3].astype(np.intp), rows[:, -2], rows[:, -1].astype(np.int64))
            self.version += 1
            self._refresh()

    def _refresh(self) -> None:
        """Draw anew from the posterior. The draws depend on the seed and the number of updates only."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, self.version + 2]))
        self._weights = self._learner.draws(rng, DRAWS)
        self._place = {name: at for at, name in enumerate(self.actions)}
        self._due = self._learner.block
        self._open: dict[tuple[str, ...] | None, Odds] = {}
        self._everything = self._odds(None)

    def _odds(self, eligible: tuple[str, ...] | None) -> Odds:
        found = self._open.get(eligible)
        if found is None:
            names = tuple(self.actions) if eligible is None else eligible
            if not names:
                raise InputError("Bandit: no action is eligible. Pass at least one, or do not ask the bandit.")
            for name in names:
                if name not in self.actions:
                    raise unknown("action", name, self.actions)
            if len(set(names)) < len(names):
                raise InputError(f"Bandit: an eligible action is named twice: {list(names)}.")
            weights = self._weights if eligible is None else self._weights[:, [self._place[name] for name in names]]
            found = Odds(names, weights, self._floors, bent=bool(self._learner.champion[0]))
            if len(self._open) >= _PATTERNS:
                self._open.clear()
            self._open[eligible] = found
        return found

    def _members(self) -> np.ndarray:
        """(actions, attributes): "all" first, then the values of attributes in the order in which they appeared."""
        for attributes in self.actions.values():
            self._attributes += [pair for pair in attributes.items() if pair not in self._attributes]
        rows = [[1.0, *(float(attributes.get(key) == value) for key, value in self._attributes)] for attributes in self.actions.values()]
        return np.array(rows)

    def _checked(self, context: Sequence[float] | np.ndarray) -> tuple[tuple[float, ...], np.ndarray]:
        try:
            x = context if isinstance(context, np.ndarray) and context.dtype == _FLOAT else np.array([float(value) for value in context])
            values = tuple(x.tolist())
            if len(values) == len(self.columns) and isfinite(sum(values)):
                return values, x
        except (TypeError, ValueError):
            pass
        raise InputError(
            f"Bandit: a context is {len(self.columns)} finite numbers ({', '.join(self.columns)}); got {context!r}. Fill what is missing."
        )

    def _matrix(self, contexts: np.ndarray) -> np.ndarray:
        try:
            x = np.asarray(contexts, dtype=np.float64)
        except (TypeError, ValueError):
            x = np.empty(0)
        if x.ndim != 2 or x.shape[1] != len(self.columns) or not np.isfinite(x).all():
            bad = f"row {np.flatnonzero(~np.isfinite(x).all(axis=1))[0]} is not finite" if x.ndim == 2 and x.size else f"shape {x.shape}"
            raise InputError(f"Bandit: contexts are (rows, {len(self.columns)}) finite numbers ({', '.join(self.columns)}); got {bad}.")
        return x

    def _refused(self, record: Record) -> InputError:
        known = 0 <= record.number < self._decided and record.action in self.actions and len(record.context) == len(self.columns)
        if not known or self._pending.get(record.number, record.id) != record.id:
            return InputError(f"Bandit.learn: this bandit did not write decision {record.number} (id {record.id!r}).")
        return InputError(
            f"Bandit.learn: decision {record.number} (id {record.id!r}) has its reward already, or was forgotten: "
            f"{self.waiting} decisions wait at most (waiting), {self.dropped} were forgotten so far."
        )

    def _check_floors(self) -> None:
        known = sorted({key for key, _ in self._attributes})
        for name, value in self._floors.values.items():
            if name not in known:
                raise unknown("attribute", name, known)
            check("Bandit", {f"floors[{name}]": value}, {f"floors[{name}]": Number(0, 1)})
        self._floors.base(tuple(self.actions)[:SHORTLIST])
