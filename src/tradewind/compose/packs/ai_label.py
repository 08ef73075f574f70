"""What a model wrote says so, for people and for programs; words in ``ai_label.toml``.

The flag ``ai_written`` among the facts' flags says that a model wrote or chose words; then a visible label must stand in the text, and
``metadata`` is what travels with it. Templates that people wrote need none: the numbers that code fills in are not generated content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache

from tradewind.compose.base import BLOCK, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words, joined
from tradewind.compose.locales import data
from tradewind.compose.recipe import AI_WRITTEN
from tradewind.errors import InputError

FIELDS = ("Label", "ContentProducer", "ProduceID", "ContentPropagator", "PropagateID")


class AiLabel(Words):
    """Block generated text without a visible label, and text that denies it."""

    name = "ai_label"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return the hits, and the missing label."""
        found = list(super().check(parts, facts=facts, locale=locale, channel=channel))
        if facts is not None and AI_WRITTEN in facts.flags and not labelled(joined(parts).text):
            part = "body" if "body" in parts else next(iter(parts), "body")
            reason = f"written by a model, and no visible label says so; add {visible(locale)}"
            found.append(Verdict("ai_label.missing", part, (0, 0), "", BLOCK, reason))
        return found


def labelled(text: str) -> bool:
    """Whether a visible label stands in the text."""
    return bool(_label().search(text))


def visible(locale: str) -> str:
    """Return the shortest visible label of a language."""
    label: str = data("ai_label")["visible"][locale]
    return label


def metadata(*, producer: str, content_id: str) -> str:
    """Return the implicit label (JSON, one object ``AIGC``): who generated and who spreads the text, and its number.

    Raises
    ------
    InputError
        A producer or number that is empty: the label would name nobody.
    """
    if not producer.strip() or not content_id.strip():
        raise InputError(
            "The AI label needs a producer (the shop's name or code) and a content_id (the message's id); one of them is empty."
        )
    return json.dumps({"AIGC": dict(zip(FIELDS, ("1", producer, content_id, producer, content_id), strict=True))}, ensure_ascii=False)


def metadata_faults(header: str | None) -> list[str]:
    """Say what is wrong with an implicit label; an empty list when it stands."""
    if not header:
        return ["no AI label in the metadata"]
    try:
        label = json.loads(header)["AIGC"]
    except (ValueError, KeyError, TypeError):
        return ['the AI label in the metadata is no JSON object with the key "AIGC"']
    if not isinstance(label, dict):
        return ['"AIGC" in the metadata is no object']
    return [f"{name} is missing in the AI label" for name in FIELDS if not str(label.get(name) or "").strip()]


@cache
def _label() -> re.Pattern[str]:
    return re.compile(data("ai_label")["label"], re.IGNORECASE)


PLUGIN = AiLabel
