"""The deep ranker: probability of a click, and of a purchase after it, for (customer, candidate item, moment, channel).

What is in it and why: attention over the history (behaviour sequences gain more than any interaction layer on public data), cross
layers, both answers over all impressions (ESMM), position as a factor that is fixed at the first place when answering, negatives that may
be down-sampled and are undone by log(share) on the log-odds (He et al. 2014), late conversions counted by how much of them can be known
(Chapelle 2014, with the delay's distribution taken from old impressions), calibration on the latest days. See ``_ranker_net``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.engine.training import alone, require_torch, world
from tradewind.learn import _store
from tradewind.learn._ranker import Given, ImpressionModel, Raw, Values, held_loss
from tradewind.learn._ranker_calibration import chance, odds
from tradewind.learn._ranker_features import DENSE, PLACES
from tradewind.learn.impressions import CHANNELS
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.params import Number, OneOf, Rule

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.learn._ranker_fit import Plan, Scale, Source
    from tradewind.learn._ranker_net import Net, Shape


@dataclass(frozen=True)
class Size:
    """What the one dial sets."""

    dim: int
    hidden: int
    crosses: int
    longest: int
    batch: int


SIZES: Mapping[str, Size] = {
    "tiny": Size(8, 32, 1, 20, 256),
    "small": Size(16, 64, 2, 50, 512),
    "base": Size(32, 128, 3, 100, 1024),
    "large": Size(64, 256, 3, 200, 2048),
}


SCALE = ("mean", "spread", "edges", "known")


class Ranker(ImpressionModel):
    """Target attention and cross layers over all impressions; see the module.

    ``size`` is the dial; ``epochs`` at most (the number is chosen on the latest slice of time); ``rare``: items shown fewer times share
    one vector, so that an item that was never shown has a meaning too; ``negatives``: share of the impressions without a click that each
    epoch draws. ``threads`` and ``device`` say where; under ``torchrun`` all processes train one model.

    When not to use: with fewer than some ten thousand clicks, before having seen that it beats ``TreeRanker`` on your own later days
    (``bench/ranker.py`` compares them); and to decide whom a message moves: it predicts clicks, not effects.

    Raises
    ------
    InputError
        PyTorch is missing, or ``device`` is not there.
    """

    name: ClassVar[str] = "ranker"
    rules: ClassVar[dict[str, Rule]] = {
        "size": OneOf(tuple(SIZES)),
        "epochs": Number(1, 1000, whole=True),
        "rate": Number(1e-6, 1),
        "dropout": Number(0, 0.95),
        "rare": Number(1, 1_000_000, whole=True),
        "threads": Number(1, 1024, whole=True),
        "device": OneOf(("cpu", "cuda", "auto")),
    }

    def __init__(
        self,
        *,
        size: str = "small",
        epochs: int = 8,
        rate: float = 1e-3,
        dropout: float = 0.1,
        rare: int = 5,
        negatives: float = 1.0,
        calibrate: float = 0.15,
        window: float = 7.0,
        device: str = "cpu",
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.size, self.epochs, self.rate, self.dropout, self.rare = size, epochs, rate, dropout, rare
        self.negatives, self.calibrate, self.window = negatives, calibrate, window
        self.device, self.threads, self.seed = device, threads, seed

    def attention(self, shown: pa.Table, log: Sequences) -> tuple[Values, NDArray[np.int64]]:
        """What of its history each row was judged by: weights float64 [N, L], and places in ``log`` (in order) int64 [N, L], -1: none.

        Weights of one row add up to at most 1; what is missing went to "nothing resembles it".
        """
        from tradewind.learn._ranker_fit import ANSWERS

        given = self._given(shown, log)
        source = self._source(given, as_shown=False)
        longest = SIZES[self.size].longest
        weights, places = np.zeros((len(given.rows), longest)), np.full((len(given.rows), longest), -1)
        torch = require_torch()
        with alone(threads=self.threads) as here, torch.inference_mode():
            for first in range(0, len(given.rows), ANSWERS):
                index = np.arange(first, min(first + ANSWERS, len(given.rows)))
                told = self._net.attention(source.batch(index, here.device))[2].double().numpy()
                where, real = given.rows.window(index, longest)
                weights[index, : told.shape[1]], places[index, : told.shape[1]] = told, np.where(real, where, -1)
        return weights, places

    def _learn(self, given: Given, later: Given) -> int:
        require_torch()
        from tradewind.learn._ranker_fit import Scale, answers, train

        self._scale: Scale = Scale.of(given, len(self._dense.vocabulary.items), self.rare)
        with _separate_draws(), world(self.device, threads=self.threads) as place:
            watched = self._source(later, as_shown=True)

            def validate(net: Net) -> float:
                return held_loss(self._both_of(*answers(net, watched, place)), later.rows)

            effects = np.log(self._dense.effects / self._dense.effects[0])
            learned = self._source(given, as_shown=True)
            self._net, steps, self._curve = train(learned, self._shape(), self._plan(), place, effects, validate)
            self._net.cpu()
        return steps

    def _raw(self, given: Given, *, as_shown: bool) -> Raw:
        from tradewind.learn._ranker_fit import answers

        with alone(threads=self.threads) as place:
            return self._both_of(*answers(self._net, self._source(given, as_shown=as_shown), place))

    def _both_of(self, click: Values, buy: Values) -> Raw:
        return Raw(click, odds(chance(click) * chance(buy)) if self._converts else None)

    def _source(self, given: Given, *, as_shown: bool) -> Source:
        from tradewind.learn._ranker_fit import Source

        return Source(given, self._scale, longest=SIZES[self.size].longest, as_shown=as_shown)

    def _shape(self) -> Shape:
        from tradewind.learn._ranker_fit import BINS, GAPS
        from tradewind.learn._ranker_net import Shape

        size, known = SIZES[self.size], self._dense.vocabulary
        return Shape(
            size.dim, size.hidden, size.crosses, self.dropout, len(known.items), len(known.categories),
            len(CHANNELS), len(KINDS), GAPS, PLACES, len(DENSE) * (1 + BINS),
        )  # fmt: skip

    def _plan(self) -> Plan:
        from tradewind.learn._ranker_fit import Plan

        return Plan(self.rate, self.epochs, 1, SIZES[self.size].batch, self.seed, self.negatives)

    def _model_state(self) -> tuple[dict[str, Any], _store.Arrays]:
        weights = {f"net.{name}": value.detach().cpu().numpy() for name, value in self._net.state_dict().items()}
        return {}, weights | {name: getattr(self._scale, name) for name in SCALE}

    def _model_restored(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all of it is arrays
        torch = require_torch()
        from tradewind.learn._ranker_fit import Scale
        from tradewind.learn._ranker_net import Net

        self._scale = Scale(**{name: arrays[name] for name in SCALE})
        self._net = Net(self._shape())
        self._net.load_state_dict({name[4:]: torch.from_numpy(array) for name, array in arrays.items() if name.startswith("net.")})
        self._net.eval()


def _separate_draws() -> Any:
    """Keep the caller's random state out of training, and training out of the caller's."""
    return require_torch().random.fork_rng(devices=[])
