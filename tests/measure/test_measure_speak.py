"""Reports in another language: templates keep their values, what is not known stays, and nothing is half translated by chance."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import pytest

from tradewind.decide.eligibility import EXPLAIN
from tradewind.errors import NotFound
from tradewind.measure.speak import LOCALES, speaker, svg

SLOT = re.compile(r"\{(\w+?)_?\}")
SAY = speaker("zh-CN")


def test_both_sides_of_a_template_have_the_same_values() -> None:
    words = tomllib.loads(files("tradewind.measure").joinpath("speak.toml").read_text(encoding="utf-8"))
    assert {"en", *words} == set(LOCALES)
    for english, other in words["zh-CN"].items():
        assert sorted(SLOT.findall(english)) == sorted(SLOT.findall(other)), english
        assert len(set(SLOT.findall(english))) == len(SLOT.findall(english)), english


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("CNY -12.30 to 45.00 (95%)", "CNY -12.30 至 45.00(95%)"),
        ("week 6, after the window", "第 6 周\uff08观察期之后\uff09"),
        ("What plan 1a2b earned", "计划 1a2b 赚了多少"),
        ("push: the effective sample size is 31 of 400 (50 needed).", "推送\uff1a有效样本量为 31 / 400\uff08需要 50\uff09。"),
        (
            "The plan lost money against doing nothing: CNY -9.00 (95% interval: CNY -12.00 to -6.00).",
            "与什么都不做相比\uff0c该计划亏损\uff1aCNY -9.00\uff0895% 置信区间\uff1aCNY -12.00 至 -6.00\uff09。",
        ),
        ("2 held-out customers got a message. The holdout is contaminated.", "2 位对照客户收到了消息。对照组已被污染。"),
    ],
)
def test_values_are_kept_and_sentences_go_one_by_one(english: str, chinese: str) -> None:
    assert SAY(english) == chinese


def test_what_has_no_template_stays_as_it_is() -> None:
    for text in ("From here to there, and more.", "mug to cup", "", "<b>to</b>", "Dear customer, 5 to 6"):
        assert SAY(text) == text
    assert speaker("en")("incremental profit") == "incremental profit"
    with pytest.raises(NotFound, match="zh-CN"):
        speaker("fr")


def test_labels_of_a_plot_are_said_and_its_lines_are_left() -> None:
    picture = '<svg aria-label="Who got what"><path d="M 1 to 2"/><text x="1">days since the plan</text></svg>'
    assert svg(picture, SAY) == '<svg aria-label="谁得到了什么"><path d="M 1 to 2"/><text x="1">计划开始后的天数</text></svg>'


def test_offers_have_their_own_names_and_every_reason_of_a_plan_is_known() -> None:
    say = speaker("zh-CN", {"zh-CN": {"20% off (coupon-20)": "八折券 (coupon-20)"}})
    assert say("20% off (coupon-20)") == "八折券 (coupon-20)"
    assert SAY("20% off (coupon-20)") == "20% off (coupon-20)"
    assert [code for code, text in EXPLAIN.items() if SAY(text) == text] == []
