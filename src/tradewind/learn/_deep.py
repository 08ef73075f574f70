"""What all deep recommenders share: events in, one vector per customer out, trained to say which item comes next.

A model is a file of this room that names its encoder (``cell``, see ``_deep_net``); data, loss, training loop, early stopping,
checkpoints, distribution over processes, scores and reasons are the same for all of them, so that a comparison compares encoders.
Measured to matter: the full softmax up to 30,000 items and shared sampled negatives above (eSASRec 2025, Turning Dross 2023),
embeddings of event kind, price band, category, channel and the time since the last event beside the item, and sequence to
sequence training: one pass over a history trains all its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.engine.training import World, alone, require_torch, world
from tradewind.errors import InputError
from tradewind.learn import _store
from tradewind.learn._deep_data import Windows, codes, tables
from tradewind.learn._holdout import Holdout, held_out
from tradewind.learn._signal import ordered, signal, table
from tradewind.learn._spectral import item_vectors, joined
from tradewind.learn.base import Recommender, active
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, OneOf, Rule, check
from tradewind.types import Reason, from_micros, micros

if TYPE_CHECKING:
    from tradewind.learn._deep_fit import Plan
    from tradewind.learn._deep_net import Net, Shape


@dataclass(frozen=True)
class Size:
    """What the one dial sets."""

    dim: int
    blocks: int
    heads: int
    length: int
    lr: float
    epochs: int
    patience: int


SIZES: Mapping[str, Size] = {
    "tiny": Size(32, 1, 2, 100, 3e-3, 20, 3),
    "small": Size(128, 2, 2, 200, 2e-3, 40, 3),
    "base": Size(256, 1, 2, 256, 1e-3, 60, 3),
    "large": Size(512, 6, 8, 512, 5e-4, 100, 5),
}
DROPOUTS = ((50, 0.5), (150, 0.35), (np.inf, 0.2))  # up to so many positive events per item: what little teaches needs more noise
LAST = 5  # events that a reason looks at


class Deep(Recommender):
    """Scores are logits of the next item.

    ``size`` is the dial; ``epochs`` and ``dropout`` override what it sets. The number of epochs is chosen on a held-out
    last stretch of the log, then everything up to the cut is trained on; without ``early_stopping`` it is exactly ``epochs``.
    ``threads`` and ``device`` ("cpu", "cuda", "auto") say where; under ``torchrun`` all processes train one model.
    ``checkpoint`` is a path without suffix: a killed fit goes on from the last finished epoch to the same weights.

    Raises
    ------
    InputError
        PyTorch is missing, or ``device`` is not there.
    """

    cell: ClassVar[str]
    _net: Net
    _trained: NDArray[np.bool_]  # [I] items with a positive event
    tags: ClassVar[frozenset[str]] = frozenset({"deep"})
    rules: ClassVar[dict[str, Rule]] = {
        "size": OneOf(tuple(SIZES)),
        "seed": Number(0, 2**31, whole=True),
        "threads": Number(1, 1024, whole=True),
        "device": OneOf(("cpu", "cuda", "auto")),
    }

    def __init__(
        self,
        *,
        size: str = "small",
        epochs: int | None = None,
        dropout: float | None = None,
        seed: int = 0,
        device: str = "cpu",
        threads: int = 1,
        checkpoint: str | None = None,
        weights: Mapping[str, float] | None = None,
        early_stopping: bool = True,
    ) -> None:
        self.size, self.epochs, self.dropout, self.seed = size, epochs, dropout, seed
        self.early_stopping = early_stopping
        self._given: Holdout | None = None
        self.device, self.threads, self.checkpoint, self.weights = device, threads, checkpoint, weights

    @property
    def trained_epochs(self) -> int:
        """Passes over the log that the network has seen."""
        self._fitted()
        return self._trained_epochs

    # ---- learning --------------------------------------------------------------------------------------------------

    def fit_on(self, holdout: Holdout) -> Self:
        """Learn from ``holdout.train`` alone, stop at the epoch that is best on what is held out, and keep that network.

        For protocols that name their validation part: leave-one-out, published splits. A shop's own model is ``fit``: that one
        goes on to learn from the validation part, too.
        """
        self._given = holdout
        try:
            return self.fit(holdout.train, as_of=from_micros(int(holdout.train.at.max(initial=0)) + 1))
        finally:
            self._given = None

    def fit_partial(self, log: Sequences, *, as_of: datetime, epochs: int = 1, replay: float = 0.25) -> Self:
        """Go on learning: ``epochs`` passes over the customers with events since the last fit and a ``replay`` share of the others.

        ``log`` is the whole log, old and new; items that appeared since join at the mean vector of what their customers took, so
        that they can be recommended at once. For the hours between two nightly fits: not equal to a fit, so compare
        (:func:`tradewind.learn.freshness.compare`). Replaying old sequences against forgetting: ADER (Mi et al. 2020).

        Raises
        ------
        InputError
            ``as_of`` lies before what the model has learned, or a number is out of range.
        """
        from tradewind.learn._deep_fit import go_on

        self._fitted()
        check(
            type(self).__name__,
            {"epochs": epochs, "replay": replay},
            {"epochs": Number(1, 1000, whole=True), "replay": Number(0, 1)},
        )
        since, end = self.as_of, micros(as_of)
        if end < since:
            raise InputError(f"fit_partial: as_of {as_of.isoformat()} lies before {from_micros(since).isoformat()}, what the model knows.")
        known = ordered(log.before(as_of))
        self._grow(known)
        self._known |= active(known)
        known = self._aligned(known)
        self.as_of = end
        old = len(self._trained)
        found = signal(known, table(self.weights))
        self._trained = np.append(self._trained, np.zeros(len(self.items) - old, dtype=bool))
        self._trained |= np.bincount(found.item, minlength=len(self.items)) > 0
        with world(self.device, threads=self.threads) as place, _separate_draws():
            start = joined(found, old, items=len(self.items))
            windows, shape, plan = self._windows(known), self._shape(), self._plan(epochs)
            self._net = go_on(self._net, windows, shape, plan, place, since=since, replay=replay, joined=start)
        return self

    def _fit(self, log: Sequences) -> None:
        if self._given is not None:
            with world(self.device, threads=self.threads):
                self._search(self._given)
            self._net.cpu()
            self.validation = None
            return
        holdout = held_out(log, table(self.weights), seed=self.seed) if self.early_stopping else None
        with world(self.device, threads=self.threads):  # joined once for both phases
            scores = self._search(holdout)
            self._finish(log)
        # For whoever weighs this model against another (fallback does); neither saved nor needed to answer.
        self.validation = None if holdout is None or scores is None else (holdout, scores)

    def _search(self, holdout: Holdout | None) -> NDArray[np.float32] | None:
        """Choose the number of epochs on ``holdout``; returns the held-out scores [V, I] of the best epoch.

        Without a holdout the epochs are those of the size.
        """
        size = self._size()
        check(
            type(self).__name__,
            {"epochs": size.epochs, "dropout": 0.0 if self.dropout is None else self.dropout},
            {"epochs": Number(1, 10_000, whole=True), "dropout": Number(0, 0.95)},
        )
        self._trained_epochs = size.epochs
        self._curve: list[float] = []
        if holdout is None:
            return None
        from tradewind.learn._deep_fit import train

        self._learn_known(holdout.train)
        with _separate_draws(), world(self.device, threads=self.threads) as place:
            self._net, self._trained_epochs, self._curve = train(
                self._windows(holdout.train),
                self._shape(),
                self._plan(size.epochs),
                place,
                start=self._start(holdout.train),
                phase="search",
                validate=lambda net: holdout.ndcg(self._logits(net, holdout.histories, place)),
            )
            return self._logits(self._net, holdout.histories, place)

    def _finish(self, log: Sequences) -> None:
        """Train on all of ``log`` for the chosen number of epochs."""
        from tradewind.learn._deep_fit import train

        self._learn_known(log)
        with _separate_draws(), world(self.device, threads=self.threads) as place:
            plan, start = self._plan(self._trained_epochs), self._start(log)
            self._net, _, _ = train(self._windows(log), self._shape(), plan, place, start=start, phase="final")
            self._net.cpu()

    def _learn_known(self, log: Sequences) -> None:
        found = signal(log, table(self.weights))
        counts = np.bincount(found.item, minlength=len(self.items))
        self._trained = counts > 0
        density = counts.sum() / max(int(self._trained.sum()), 1)
        self._dropout = next(share for most, share in DROPOUTS if density <= most) if self.dropout is None else self.dropout
        self._clock = bool(len(log.at)) and int(log.at.max()) - int(log.at.min()) >= 1_000_000  # an order of events, or times

    def _start(self, log: Sequences) -> NDArray[np.float32]:
        found = signal(log, table(self.weights), merge=True)
        return item_vectors(found, items=len(self.items), dim=self._size().dim, seed=self.seed)

    def _windows(self, log: Sequences) -> Windows:
        return Windows.of(log, self._trained, table(self.weights), longest=self._size().length)

    def _size(self) -> Size:
        from dataclasses import replace

        size = SIZES[self.size]
        return size if self.epochs is None else replace(size, epochs=self.epochs)

    def _shape(self) -> Shape:
        require_torch()
        from tradewind.learn._deep_net import Shape

        size = self._size()
        rows = tables(len(self.items), len(self.categories))
        return Shape(size.dim, size.blocks, size.heads, size.length, self._dropout, rows, self.cell, self._clock)

    def _plan(self, epochs: int) -> Plan:
        from tradewind.learn._deep_fit import FULL, Plan

        size = self._size()
        return Plan(size.lr, epochs, size.patience, self.seed, len(self.items) > FULL, self.checkpoint)

    # ---- answering -------------------------------------------------------------------------------------------------

    def _score(self, histories: Sequences) -> NDArray[np.float32]:
        with alone(threads=self.threads) as place:
            return self._logits(self._net, histories, place)

    def customer_vectors(self, histories: Sequences) -> NDArray[np.float32]:
        """The state of each customer after the last event, float32 [U, dim]; zeros without a history.

        Other models may learn from it: purchase, response, best hour, churn.
        """
        self._fitted()
        aligned = self._aligned(histories)
        with alone(threads=self.threads) as place:
            return self._vectors(self._net, aligned, place)

    def _vectors(self, net: Net, histories: Sequences, place: World) -> NDArray[np.float32]:
        from tradewind.learn._deep_fit import vectors

        recent = histories.last(net.length)
        return vectors(net, codes(recent, self._trained), recent.offsets, place)

    def _logits(self, net: Net, histories: Sequences, place: World) -> NDArray[np.float32]:
        users = self._vectors(net, histories, place)
        scores: NDArray[np.float32] = users @ net.items.detach().float().cpu().numpy().T + net.bias.detach().float().cpu().numpy()
        scores[:, ~self._trained] = -np.inf
        item = histories.item
        tells = np.bincount(histories.owner[(item >= 0) & self._trained[np.maximum(item, 0)]], minlength=len(histories))
        scores[tells == 0] = -np.inf
        return scores

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """The recent items without which the score of ``item`` falls most; the last item when none of them lifts it."""
        places = np.flatnonzero((history.item >= 0) & self._trained[np.maximum(history.item, 0)])[-LAST:]
        if not len(places) or not self._trained[item]:
            return ()
        variants = [np.arange(len(history.at)) != place for place in places]
        whole = float(self._score(history)[0, item])
        falls = []
        for place, keep in zip(places, variants, strict=True):
            without = self._score(history.keep(keep))[0, item]
            falls.append((whole - float(without) if np.isfinite(without) else abs(whole) + 1.0, int(history.item[place])))
        lifting = sorted((pair for pair in falls if pair[0] > 0), key=lambda pair: -pair[0])[:3]
        chosen = lifting or [falls[-1]]
        names = dict.fromkeys(self.items[code] for _, code in chosen)
        return tuple(Reason("sequence", {"item": name}) for name in names)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        weights = {f"net.{name}": value.detach().cpu().numpy() for name, value in self._net.state_dict().items()}
        values = {"epochs": self._trained_epochs, "curve": self._curve, "clock": self._clock, "dropout": self._dropout}
        return values, weights | {"trained": self._trained}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:
        torch = require_torch()
        from tradewind.learn._deep_net import Net

        self._trained_epochs, self._curve, self._trained = int(values["epochs"]), list(values["curve"]), arrays["trained"]
        self._clock, self._dropout = bool(values["clock"]), float(values["dropout"])
        self._net = Net(self._shape())
        self._net.load_state_dict({name[4:]: torch.from_numpy(array) for name, array in arrays.items() if name.startswith("net.")})
        self._net.eval()


def _separate_draws() -> Any:
    """Keep the caller's random state out of training, and training out of the caller's."""
    return require_torch().random.fork_rng(devices=[])
