"""Text messages: signature, opt-out words in their place, refused topics, hidden links, costly letters; list in ``sms.toml``.

China: the signature stands first in lenticular brackets, once, and the opt-out words end the text (vendors' rules; MIIT order 31 of
2015, art. 18 to 20). Elsewhere the words STOP or UNSUBSCRIBE stand in the last sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

from tradewind.compose.base import BLOCK, WARN, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words
from tradewind.compose.locales import data
from tradewind.compose.sms import outside

_PICTURES = ("So", "Sk", "Cn", "Co")  # Unicode categories: emoji, modifiers, unassigned, private


class TextMessage(Words):
    """Block what a text message may not say, or lacks."""

    name = "sms"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return the hits; other channels pass."""
        if channel != "sms":
            return []
        body = parts.get("body", "")
        faults = _chinese(body) if locale == "zh-CN" else _english(body, facts)
        return [*faults, *super().check(parts, facts=facts, locale=locale, channel=channel)]


def _chinese(body: str) -> list[Verdict]:
    table, found = data("sms"), []
    if not _pattern("sign_zh").match(body):
        found.append(_fault("sign", body, table["reasons"]["sign"]))
    if any(body.count(bracket) > 1 for bracket in table["brackets"]):
        found.append(_fault("sign", body, table["reasons"]["brackets"]))
    if not _pattern("opt_out_zh").search(body):
        found.append(_fault("opt_out", body, table["reasons"]["opt_out"]))
    odd = next(
        (place for place, letter in enumerate(body) if letter in table["symbols"] or unicodedata.category(letter) in _PICTURES), None
    )
    if odd is not None:
        found.append(Verdict("sms.symbol", "body", (odd, odd + 1), body[odd], BLOCK, "vendors refuse emoji and symbols"))
    return found


def _english(body: str, facts: Facts | None) -> list[Verdict]:
    found = []
    if not _pattern("opt_out_en").search(body):
        found.append(_fault("opt_out", body, "STOP (or UNSUBSCRIBE) must stand in the last sentence"))
    shop = facts.narrow.texts.get("shop") if facts is not None else None
    if shop and shop not in body:
        found.append(_fault("sign", body, "the text must say whom it is from"))
    costly = outside(body)
    if costly is not None:
        reason = "one letter outside the GSM-7 alphabet more than halves what a part holds"
        found.append(Verdict("sms.encoding", "body", (costly, costly + 1), body[costly], WARN, reason))
    return found


def _fault(rule: str, body: str, reason: str) -> Verdict:
    return Verdict(f"sms.{rule}", "body", (0, 0), body[:0], BLOCK, reason)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(data("sms")[name])


PLUGIN = TextMessage
