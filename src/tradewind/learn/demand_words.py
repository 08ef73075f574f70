"""Order lines for people: reasons in words, from ``demand_texts.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from tradewind.errors import unknown
from tradewind.learn._demand_orders import Line
from tradewind.types import Reason

STOP = {"en": "; ", "zh-CN": "\uff1b"}


def locales() -> list[str]:
    """Languages that reasons can be told in."""
    return [name for name in _texts() if name != "steps"]


def sentence(reasons: Sequence[Reason], *, locale: str = "en") -> str:
    """The reasons of a line as one sentence; raises NotFound for a language that there are no texts for."""
    texts = _texts()
    if locale not in locales():
        raise unknown("language of reasons", locale, locales())
    told = []
    for one in reasons:
        details = dict(one.details)
        if "step" in details:
            details["step"] = texts["steps"][locale][details["step"]]
        told.append(str(texts[locale][one.code]).format(**details))
    return STOP[locale].join(told)


def rows(lines: Sequence[Line], *, locale: str = "en") -> list[dict[str, Any]]:
    """Lines as flat rows for a file: numbers, and the reason in words."""
    return [
        {
            "item": line.item, "store": line.store or "", "order": line.order, "stock": line.stock, "in_transit": line.in_transit,
            "expected": round(line.expected, 2), "up_to": line.upto, "service": round(line.ratio, 3),
            "lasts": None if line.lasts is None else round(line.lasts, 1), "money": line.money,
            "reason": sentence(line.reasons, locale=locale),
        }
        for line in lines
    ]  # fmt: skip


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(resources.files("tradewind.learn").joinpath("demand_texts.toml").read_text(encoding="utf-8"))
