"""E-mail: subjects that deceive or shout, a preheader that adds nothing; list in ``email.toml``.

Lengths are in ``length``, the unsubscribe link in ``hygiene``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tradewind.compose.base import WARN, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words

_WORD = re.compile(r"[A-Za-z]{2,}")
_PICTURES = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")


class Email(Words):
    """Block deceptive subjects; warn about shouting ones."""

    name = "email"
    reads_names = False

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return the hits; other channels pass."""
        if channel != "email":
            return []
        subject, head = parts.get("subject", ""), {part: parts[part] for part in ("subject", "preheader") if part in parts}
        found = list(super().check(head, facts=facts, locale=locale, channel=channel))
        if _shouts(subject):
            found.append(Verdict("email.shouting", "subject", (0, len(subject)), subject, WARN, "most of its words are in capitals"))
        if len(_PICTURES.findall(subject)) > 2:
            found.append(Verdict("email.pictures", "subject", (0, len(subject)), subject, WARN, "more than two pictures in a subject"))
        preheader = parts.get("preheader")
        if preheader is not None and preheader.strip() in ("", subject.strip()):
            reason = "an empty preheader shows whatever comes first in the page; one that repeats the subject adds nothing"
            found.append(Verdict("email.preheader", "preheader", (0, len(preheader)), preheader, WARN, reason))
        return found


def _shouts(subject: str) -> bool:
    words = _WORD.findall(subject)
    loud = [word for word in words if word.isupper()]
    return len(loud) > 2 and len(loud) * 2 > len(words)


PLUGIN = Email
