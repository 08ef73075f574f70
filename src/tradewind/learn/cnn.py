"""Dilated causal convolutions over each customer's history: NextItNet (Yuan et al. 2019) with the shared training of ``_deep``."""

from __future__ import annotations

from typing import ClassVar

from tradewind.learn._deep import Deep


class Cnn(Deep):
    """See ``Deep`` for the parameters.

    When not to use: where what happened long ago matters: a block sees fifteen events back, two blocks thirty.
    """

    name: ClassVar[str] = "cnn"
    cell: ClassVar[str] = "cnn"


PLUGIN = Cnn
