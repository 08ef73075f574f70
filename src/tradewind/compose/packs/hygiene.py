"""Control characters, left-over placeholders, code and drafts, and broken encodings; list in ``hygiene.toml``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tradewind.compose.base import BLOCK, UNSUBSCRIBE, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words

# Line feeds are allowed in bodies only; marks that change the direction of writing, and letters that run from right to left, nowhere.
_CONTROL = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff0-\uffff]|[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\ud800-\udfff]"
)
_LINE = re.compile("\n")


class Hygiene(Words):
    """Block what no reader should ever see."""

    name = "hygiene"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return the hits; the unsubscribe placeholder of e-mail is the only one allowed, once per body."""
        found = []
        for part, text in parts.items():
            found += _control(part, text)
            allowed = 1 if channel == "email" and part in ("body", "html") else 0
            if (count := text.count(UNSUBSCRIBE)) != allowed:
                reason = f"the unsubscribe link stands {count} times; it must stand {allowed} times"
                found.append(Verdict("hygiene.unsubscribe", part, (0, 0), "", BLOCK, reason))
        return [*found, *super().check(parts, facts=facts, locale=locale, channel=channel)]


def _control(part: str, text: str) -> list[Verdict]:
    patterns = [_CONTROL] if part in ("body", "html") else [_CONTROL, _LINE]
    return [
        Verdict(
            "hygiene.control",
            part,
            hit.span(),
            f"U+{ord(hit.group()):04X}",
            BLOCK,
            "a control or direction mark, or a letter that runs from right to left",
        )
        for pattern in patterns
        for hit in pattern.finditer(text)
    ]


PLUGIN = Hygiene
