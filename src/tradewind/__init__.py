"""Tradewind decides, for every customer of an online shop, what to offer, in which words, when and on which
channel, within budget - and proves with a holdout what it earned.

>>> import tradewind as tw
>>> tw.__version__
'0.1.0'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.errors import InputError, Locked, NotFitted, NotFound, SchemaError, StateError, Terminal, TradewindError, Transient
    from tradewind.shop import Shop
    from tradewind.types import Estimate, Event, Message, Offer, Reason, Receipt, Report, Section

# The public surface: name -> module. A name is imported when it is first asked for.
_PUBLIC = {
    "Estimate": "types",
    "Event": "types",
    "InputError": "errors",
    "Locked": "errors",
    "Message": "types",
    "NotFitted": "errors",
    "NotFound": "errors",
    "Offer": "types",
    "Plan": "decide.plan",
    "Reason": "types",
    "Receipt": "types",
    "Report": "types",
    "SchemaError": "errors",
    "Section": "types",
    "Shop": "shop",
    "StateError": "errors",
    "Terminal": "errors",
    "TradewindError": "errors",
    "Transient": "errors",
}

__all__ = [
    "Estimate",
    "Event",
    "InputError",
    "Locked",
    "Message",
    "NotFitted",
    "NotFound",
    "Offer",
    "Plan",
    "Reason",
    "Receipt",
    "Report",
    "SchemaError",
    "Section",
    "Shop",
    "StateError",
    "Terminal",
    "TradewindError",
    "Transient",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"tradewind.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'tradewind' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
