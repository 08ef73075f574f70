"""The writer "local" over a model that the test makes: the grammar holds whatever the weights are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_model
from compose_kit import NOW, coupon, facts, item

from tradewind.compose._copy_accept import answered
from tradewind.compose.base import Brief
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.library import load
from tradewind.compose.local import Local, bounded, pattern
from tradewind.compose.template import parse
from tradewind.compose.writing import write
from tradewind.engine.home import Home
from tradewind.engine.ledger import Ledger
from tradewind.engine.models import LocalModel
from tradewind.errors import InputError

FACTS = {locale: facts(item("mug-1"), coupon(), locale=locale) for locale in ("en", "zh-CN")}


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        ("A look at {title}", True),
        ("{shop}, for you!", True),
        ("Save 9 now", False),
        ("{price} for you", False),
        ("a{title", False),
        ("", False),
    ],
)
def test_the_grammar_knows_words_and_slots_with_facts(text: str, stands: bool) -> None:
    assert bool(re.fullmatch(pattern(("shop", "title"), 60, "en"), text)) is stands


def test_it_says_what_is_missing(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='The writer "local" needs a model'):
        Local.open(home, now=NOW)
    home.save_settings(replace(home.settings, local=LocalModel(str(tmp_path))))
    with pytest.raises(InputError, match=r"has no config\.json"):
        Local.open(home, now=NOW)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["choose", "write"])
def test_no_answer_leaves_the_grammar(mode: str, tiny: Path, ledger: Ledger) -> None:
    local = Local(LocalModel(str(tiny), device="cpu", mode=mode, candidates=2, unseen=True), ledger=ledger, now=NOW)
    for locale, known in FACTS.items():
        brief = Brief("d1", "push", locale)
        text = write(brief, facts=known, seed=1, at=NOW, writer=local)
        assert text.withheld is None
        assert not blocked(Guard().check(text.parts, facts=text.facts, locale=locale, channel="push"))
        asked = local.question(brief, known)
        answer = local.known(asked.key(local.identity))
        assert answer is not None
        rows = answered(answer, asked)
        assert rows is not None
        assert len(rows) == 2
        texts = bounded(asked)["properties"]["candidates"]["items"]["properties"]
        for row in json.loads(answer)["candidates"]:
            for role, words in row.items():
                if mode == "choose":
                    assert words in {component.template.text for component in load(locale).components}
                else:
                    assert re.fullmatch(texts[role]["pattern"], words)
                    assert set(parse(words).slots) <= set(known.texts)
        if mode == "choose":
            assert text.draft is not None
            assert text.draft.writer == "local"
