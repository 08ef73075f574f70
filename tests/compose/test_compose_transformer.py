"""The writer that learns from approved copy: what it may write, what is said of its novelty, and how it is stored."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from compose_kit import NOW, coupon, facts, item

from tradewind.compose import transformer
from tradewind.compose._copy_corpus import Sentence, approved, delexicalised, read
from tradewind.compose._copy_net import Size, learned
from tradewind.compose.approval import Approvals
from tradewind.compose.base import Brief
from tradewind.compose.library import load
from tradewind.compose.template import parse
from tradewind.compose.transformer import Novelty, Transformer, fitted, report, train
from tradewind.compose.writing import write
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.learn.registry import active
from tradewind.learn.registry import learned as learned_before

SHORT = Size(width=32, heads=2, layers=1, steps=120, batch=16)


def test_the_corpus_holds_names_as_its_only_slots() -> None:
    sentences = approved([load("en"), load("zh-CN")])
    assert {sentence.locale for sentence in sentences} == {"en", "zh-CN"}
    for sentence in sentences:
        assert set(parse(sentence.text).slots) <= {"shop", "title", "brand", "category", "feature", "anchor", "aspect"}
        assert sentence.role not in ("offer", "optout", "deadline")


def test_a_finished_sentence_becomes_a_template_or_nothing() -> None:
    known = facts(item("mug-1"), coupon(), locale="en")
    said = f"{known.texts['title']}: {known.texts['offer_price']} at Harbour"
    assert delexicalised(said, known) == "{title}: {offer_price} at {shop}"
    assert delexicalised("A mug for 5 pounds", known) is None


def test_a_shops_own_copy_is_read_or_refused_by_line() -> None:
    good = {"text": "Hello from {shop}", "locale": "en", "channel": "email", "role": "hook", "category": "Kitchen"}
    assert read([json.dumps(good), ""]) == [Sentence(**good)]
    for bad in ('{"text": "Only 5 left", "locale": "en", "channel": "email", "role": "hook"}', '{"txt": "x"}', "no json"):
        with pytest.raises(InputError, match="Line 1 of the copy cannot be used"):
            read([bad])


def test_it_learns_conditions_and_writes_only_what_it_may() -> None:
    hooks = [Sentence("Good morning from {shop}", "en", "email", "hook"), Sentence("Look, {title}", "en", "email", "subject")]
    net, loss = learned(hooks, size=SHORT, seed=0)
    assert loss < 0.5
    for sentence in hooks:
        slots = parse(sentence.text).slots
        wrote = net.sample(sentence, count=8, slots=slots, temperature=0.5, seed=1)
        assert wrote == net.sample(sentence, count=8, slots=slots, temperature=0.5, seed=1)
        assert wrote.count(sentence.text) >= 4, "each condition gives its own sentence"
        for text in net.sample(sentence, count=16, slots=(), temperature=3.0, seed=2):
            assert "{" not in text, "no slot without a fact, however hot"
            assert not any(character.isdigit() for character in text)


def test_novelty_tells_a_memoriser() -> None:
    texts = [
        f"{start} {end}"
        for start in ("Look at", "Meet", "Say hello to", "Here is", "Have you seen")
        for end in ("{title}", "a mug", "{shop}")
    ]
    net, novelty = fitted([Sentence(text, "en", "email", "hook") for text in texts + [f"{text}!" for text in texts]], steps=1)
    assert novelty.new > 0.9, "a net that learned nothing writes noise, which is new"
    assert novelty.sound < 0.2, "and not sound"
    assert novelty.memoriser
    assert "a memoriser" in report(novelty)
    assert "adds sentences of its own" in report(replace(novelty, sound=0.9))
    with pytest.raises(InputError, match="Approve more copy first"):
        fitted([Sentence("x", "en", "email", "hook")])
    assert net.size.steps == 1


def test_the_writer_proposes_and_writes_what_was_approved(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "A quiet word about {title}"
    sentences = [Sentence(text, "en", channel, role) for channel in ("email", "push") for role in ("subject", "hook", "title")]
    net, _ = learned(sentences, size=SHORT, seed=0)
    monkeypatch.setattr(transformer, "fitted", lambda sentences, seed: (net, Novelty(1, 0.0, 0.0, 0.0, 1.0, 1.0)))
    assert not learned_before(home, transformer.MODEL)
    known = facts(item("mug-1"), coupon(), locale="en")
    first = write(Brief("d1", "push", "en"), facts=known, seed=1, at=NOW, writer=Transformer.open(home, now=NOW))
    version, _ = train(home, now=NOW)
    assert version.card["memoriser"] is True
    assert version == active(home, transformer.MODEL)
    assert first.facts.fallbacks[-1] == "transformer: its sentences wait for approval -> components"
    approvals = Approvals(home)
    mine = [entry for entry in approvals.waiting() if entry.row["text"] == text]
    assert mine
    approvals.approve(mine[0].component, by="mary", at=NOW)
    second = write(Brief("d1", "push", "en"), facts=known, seed=1, at=NOW, writer=Transformer.open(home, now=NOW))
    assert second.draft is not None
    assert (second.draft.writer, second.parts["title"]) == ("transformer", "A quiet word about White Stoneware Mug")
