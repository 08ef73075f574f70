"""One causal Transformer over each customer's whole event history: the large behaviour model of the shop.

SASRec (Kang and McAuley 2018) with gated pre-norm blocks (LiGR, Borisyuk et al. 2025; eSASRec 2025) and learned inverse positions.
"""

from __future__ import annotations

from typing import ClassVar

from tradewind.learn._deep import SIZES, Deep

__all__ = ["SIZES", "Transformer"]


class Transformer(Deep):
    """Self-attention over the history; see ``Deep`` for the parameters.

    When not to use: below some thousand events (``graph`` learns faster), and for customers without a history.
    """

    name: ClassVar[str] = "transformer"
    cell: ClassVar[str] = "attention"


PLUGIN = Transformer
