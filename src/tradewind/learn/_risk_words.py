"""Reasons of a risk score as sentences, in English and Chinese."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tradewind.types import Reason

_FILE = Path(__file__).with_name("risk_words.toml")
_KEY = "customer|device|address|card|coupon"
_COUNTED = re.compile(rf"({_KEY})_(orders|amount|claims|refunds|views)_(1h|24h|7d|30d)")
_NEW = re.compile(rf"({_KEY})_new_(\w+?)_(1h|24h|7d|30d)")
_MET = re.compile(rf"({_KEY})_(customers|devices|addresses|cards)")


def sentence(reason: Reason, locale: str = "en") -> str:
    """A reason of :meth:`Risk.reasons` in words; ``locale`` "en" or one that begins with "zh"."""
    words, name = _words()["zh-CN" if locale.startswith("zh") else "en"], reason.code
    value = reason.details.get("value")
    number = _plain(value)
    own, names = words["own"], words["names"]
    if name == "rare":
        return str(words["rare"])
    if found := _COUNTED.fullmatch(name):
        return str(words[found[2]].format(n=number, a=names[found[1]], w=names[found[3]]))
    if found := _NEW.fullmatch(name):
        return str(words["new"].format(n=number, a=names[found[1]], b=names[found[2]], w=names[found[3]]))
    if name in ("customer_orders", "customer_coupons"):
        return str(words[name.replace("customer", "total")].format(n=number))
    if found := _MET.fullmatch(name):
        return str(words["met"].format(n=number, a=names[found[1]], b=names[found[2]]))
    percent = f"{value:.0%}" if isinstance(value, float) and math.isfinite(value) else number
    return str(own.get(name, words["other"]).format(n=number, percent=percent, name=name))


def _plain(value: Any) -> str:
    """A number without noise; what is not known is a question mark."""
    if not isinstance(value, float | int) or not math.isfinite(value):
        return "?"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


@cache
def _words() -> Mapping[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
