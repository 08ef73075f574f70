"""What a model wrote carries a label, for people and for programs, in every channel; what people wrote carries none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from compose_kit import CHANNELS, NOW, coupon, facts, item

from tradewind.compose.base import Brief, Draft, Writer
from tradewind.compose.components import Components
from tradewind.compose.facts import Facts
from tradewind.compose.library import load
from tradewind.compose.packs.ai_label import labelled, metadata_faults, visible
from tradewind.compose.writing import renew, write
from tradewind.types import Message


class Model(Writer):
    """Says what the shipped library says, as sentences of its own."""

    name = "chat"

    def write(self, brief: Brief, *, facts: Facts, seed: int) -> Draft | str:
        """As ``components``, from a library whose words are a model's."""
        shipped = load(brief.locale)
        mine = tuple(replace(one, id=f"chat.{one.id}") for one in shipped.components)
        draft = Components(replace(shipped, components=mine)).write(brief, facts=facts, seed=seed)
        return draft if isinstance(draft, str) else replace(draft, writer=self.name)


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
@pytest.mark.parametrize("channel", [*CHANNELS, "reco", "ad", "coupon", "social", "landing"])
def test_a_text_that_a_model_wrote_says_so(channel: str, locale: str) -> None:
    known = facts(item(), coupon(), locale=locale)
    for number in range(10):
        brief = Brief(f"d{number}", channel, locale)
        plain = write(brief, facts=known, seed=1, at=NOW)
        text = write(brief, facts=known, seed=1, at=NOW, writer=Model())
        assert not plain.withheld
        assert not labelled(" ".join(plain.parts.values()))
        assert text.draft is not None
        assert text.draft.writer == "chat", text.facts.fallbacks
        assert " ".join(text.parts.values()).count(visible(locale)) == (2 if channel == "email" else 1)  # the plain body and the page


def test_programs_can_read_who_generated_a_text() -> None:
    text = write(Brief("d1", "email", "en"), facts=facts(item(), coupon()), seed=1, at=NOW, writer=Model())
    empty = Message("m1", "d1", "p1", "c1", "email", "en", {}, (), "", "", NOW, None, {})
    headers = renew(empty, text, seed=1, reason=None).headers
    assert metadata_faults(headers["ai_label"]) == []
    assert json.loads(headers["ai_label"])["AIGC"]["ProduceID"] == "m1"
    plain = write(Brief("d1", "email", "en"), facts=facts(item(), coupon()), seed=1, at=NOW)
    assert "ai_label" not in renew(empty, plain, seed=1, reason=None).headers
