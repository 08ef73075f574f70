"""Gated recurrent units over each customer's history: GRU4Rec (Hidasi et al. 2016) with the shared training of ``_deep``."""

from __future__ import annotations

from typing import ClassVar

from tradewind.learn._deep import Deep


class Gru(Deep):
    """See ``Deep`` for the parameters.

    When not to use: where histories are long and the processor wide, for its steps run one after the other. It is the frugal one
    where a customer's state must be kept and moved on by each event.
    """

    name: ClassVar[str] = "gru"
    cell: ClassVar[str] = "gru"


PLUGIN = Gru
