"""A brief in plain words becomes a draft: every value shows where it was said, no money is invented, nothing is lost in silence.

The model server is a fake that answers what the test says: what is under test is what is believed of an answer.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fault_server import FaultServer

from tradewind.compose._chat_wire import Failed
from tradewind.compose._goal_numbers import amounts
from tradewind.compose.spoken_goal import Compiled, compile_goal, known_of
from tradewind.decide.campaign_file import faults
from tradewind.engine.home import Home
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError
from tradewind.learn.profiles import PROFILE

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BRIEF = "Win back those who have been away for two months. At most 800 CNY until 31 March 2026. Never by SMS, and nobody under 18."
ZH = "\u7528\u4e24\u5343\u5143\u53ec\u56de\u516d\u5341\u5929\u6ca1\u4e70\u7684\u8001\u987e\u5ba2"  # 2000 yuan, sixty days
GOOD: dict[str, Any] = {
    "campaign": {
        "name": "win-back", "goal": "Win back", "audience": "recency_days > 60", "offers": None, "channels": ["email"], "budget": "800 CNY",
        "holdout": 0.2, "from": "2026-03-01", "until": "2026-03-31", "window_days": None, "guard": None, "trigger": None,
    },
    "said": [
        {"key": "audience", "words": "away for two months"},
        {"key": "budget", "words": "At most 800 CNY"},
        {"key": "until", "words": "until 31 March 2026"},
        {"key": "channels", "words": "Never  by\nsms"},
        {"key": "holdout", "words": "hold out a fifth"},
    ],
    "assumed": [{"key": "holdout", "words": "enough to measure"}, {"key": "from", "words": "today"}],
    "red_lines": [{"text": "Never by SMS", "key": "channels"}, {"text": "nobody under 18", "key": None}, {"text": "x", "key": "made up"}],
}  # fmt: skip


class Saying(FaultServer):
    """Answers with the given texts, one after the other; the last one again."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]

    def shaped(self, body: dict[str, Any]) -> Any:
        return self.answers[min(len(self.seen), len(self.answers)) - 1]


@pytest.fixture
def shop(home: Home) -> Home:
    home.save_settings(replace(home.settings, currency="CNY"))
    return home


def compiled(home: Home, *answers: Any, text: str = BRIEF) -> tuple[Compiled, Saying]:
    with Saying(*answers) as server:
        home.save_settings(replace(home.settings, chat=ChatModel(server.url, "tiny")))

        def judged(told: Mapping[str, Any]) -> Any:
            return faults(told, currency="CNY", columns=PROFILE)

        return compile_goal(home, text, known=known_of(home), faults=judged, now=NOW), server


def changed(**values: Any) -> dict[str, Any]:
    return {**GOOD, "campaign": {**GOOD["campaign"], **values}}


def test_what_the_brief_says_is_told_from_what_was_assumed(shop: Home) -> None:
    found, server = compiled(shop, GOOD)
    assert found.ready
    assert found.tries == 1
    sources = {one.key: (one.source, one.quote or one.why) for one in found.stated}
    assert sources["budget"] == ("said", "At most 800 CNY")
    assert sources["channels"] == ("said", "Never  by\nsms"), "blanks and case do not matter"
    assert sources["holdout"] == ("assumed", "enough to measure"), "the words it named do not stand in the brief"
    assert sources["from"] == ("assumed", "today")
    assert [(line.text, line.key) for line in found.red_lines] == [("Never by SMS", "channels"), ("nobody under 18", None), ("x", None)]
    assert found.unused == ("18",)
    asked = json.loads(server.seen[0][1]["messages"][1]["content"])
    assert asked["brief"] == BRIEF
    assert set(asked) == {"today", "zone", "currency", "columns", "stages", "offers", "channels", "triggers", "grammar", "brief"}


def test_the_file_reads_back_and_names_what_a_person_must_see(shop: Home) -> None:
    text = compiled(shop, GOOD)[0].to_toml()
    assert tomllib.loads(text)["budget"] == "800 CNY"
    assert "# assumed: holdout = 0.2. enough to measure" in text
    assert "# see to it yourself: nobody under 18" in text
    evil = changed()
    evil["assumed"] = [{"key": "holdout", "words": 'x\nbudget = "9000 CNY"'}]
    assert tomllib.loads(compiled(shop, evil)[0].to_toml())["budget"] == "800 CNY", "a reason stays within its comment"


@pytest.mark.parametrize("budget", ["8000 CNY", "80 CNY", "801 CNY", "1 CNY"])
def test_a_model_grants_no_money(shop: Home, budget: str) -> None:
    found, _ = compiled(shop, changed(budget=budget))
    assert "budget" not in found.campaign
    assert [(one.source, one.value) for one in found.stated if one.key == "budget"] == [("refused", budget)]
    assert "# taken out, for the brief does not name it" in found.to_toml()
    assert "800" not in found.unused or budget != "800 CNY"


def test_a_wrong_form_goes_back_once_with_what_is_wrong(shop: Home) -> None:
    found, server = compiled(shop, changed(audience="recency_dys > 60", offers=[]), GOOD)
    assert (found.ready, found.tries) == (True, 2)
    again = json.loads(server.seen[1][1]["messages"][1]["content"])["your_last_answer_was_refused_because"]
    assert len(again) == 1
    assert "recency_days" in again[0], "the error names the nearest column"


def test_a_form_that_stays_wrong_is_shown_with_its_faults(shop: Home) -> None:
    found, server = compiled(shop, changed(until="2025-01-01", channels=["pigeon"]))
    assert not found.ready
    assert len(server.seen) == 2
    assert {fault.where for fault in found.faults} >= {"channels"}


@pytest.mark.parametrize(
    "answer", ["", "no", "[]", '{"campaigns": {}}', '{"campaign": null}', '{"campaign": [1], "said": 7, "red_lines": [3]}']
)
def test_an_answer_of_another_shape_becomes_no_campaign(shop: Home, answer: str) -> None:
    if '"campaign":' in answer:
        found, _ = compiled(shop, answer)
        assert not found.ready
        assert found.campaign == {}
    else:
        with pytest.raises(Failed, match="schema"):
            compiled(shop, answer)


def test_a_chinese_brief(shop: Home) -> None:
    answer = changed(budget="2000 CNY", audience="recency_days > 60")
    answer["said"] = [{"key": "budget", "words": ZH[1:4]}, {"key": "audience", "words": ZH[7:11]}]
    found, _ = compiled(shop, answer, text=ZH)
    assert found.campaign["budget"] == "2000 CNY"
    assert {one.key for one in found.stated if one.source == "said"} == {"budget", "audience"}
    assert found.unused == ()


def test_without_a_model_or_without_words_it_says_what_to_do(home: Home, shop: Home) -> None:
    known = known_of(shop)
    for text, says in (("", "1 to 4,000"), ("x" * 4001, "1 to 4,000"), (BRIEF, "Fill in the form")):
        with pytest.raises(InputError, match=says):
            compile_goal(home, text, known=known, faults=lambda _told: (), now=NOW)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,500.5 and 2k", [1500.5, 2000]),
        ("3 million", [3e6]),
        ("\uff12\uff10\uff10\u5143", [200]),
        ("\u4e24\u5343\u4e09\u767e", [2300]),
        ("\u4e00\u4e07\u4e94", [15000]),
        ("\u4e09\u5341\u4e94", [35]),
        ("\u5341\u4e8c\u4e07", [120000]),
        ("1.5\u4e07", [15000]),
        ("\u4e00\u4e2a", []),
        ("abc1 v2", []),
    ],
)
def test_numbers_of_a_text(text: str, numbers: list[float]) -> None:
    assert [number[0] for number in amounts(text)] == numbers


def test_a_share_is_either() -> None:
    assert amounts("20 %") == [(20.0, 0.2)]
