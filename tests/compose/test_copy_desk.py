"""Reports, approvals, proposals and exports of words: what they say, what they refuse, and what they keep."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from copy_kit import library, sent
from fault_server import FaultServer

from tradewind.compose.approval import RULE, Approvals, low_risk
from tradewind.compose.chat import Chat
from tradewind.compose.copy_report import ENOUGH, lines, report
from tradewind.compose.desk import Words, act
from tradewind.compose.library import load
from tradewind.compose.policy import CopyPolicy
from tradewind.compose.preference import preferences, write
from tradewind.compose.propose import Wish, from_file, propose, wishes
from tradewind.compose.propose_chat import from_chat
from tradewind.engine.home import Home
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError, NotFound, StateError

AT = datetime(2026, 3, 1, tzinfo=UTC)
HOOKS = {"en": library()}
EVEN = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}
BEST = {"a": 0.0, "b": 0.12, "c": -0.1, "d": 0.0}


def row(name: str = "own.en.hook.x", **changes: Any) -> dict[str, Any]:
    return {"id": name, "role": "hook", "tone": "any", "channels": ["email"], "text": "Have you met {title}?", **changes}


# -- report -------------------------------------------------------------------------------------------------------------


def test_winners_and_losers_are_those_that_were_planted() -> None:
    found = {line.component: line for line in lines(sent(4000, BEST), HOOKS)}
    assert {name: line.verdict for name, line in found.items()} == {"a": "control", "b": "wins", "c": "loses", "d": "cannot tell"}
    assert found["b"].low < 0.12 < found["b"].high
    assert found["b"].rate == pytest.approx(0.32, abs=0.04)
    assert 0.2 < found["b"].shrunken < found["b"].rate + 0.01  # towards the control
    assert found["b"].text == "Fancy {title}?"


def test_where_nothing_differs_there_is_hardly_ever_a_verdict() -> None:
    verdicts = [line.verdict for seed in range(30) for line in lines(sent(400, EVEN, seed=seed), HOOKS)]
    assert sum(verdict in ("wins", "loses") for verdict in verdicts) <= 5  # 5 % of 30 reports, and their spread


def test_few_sends_no_clicks_one_component_and_nothing_at_all() -> None:
    assert {line.verdict for line in lines(sent(ENOUGH, EVEN), HOOKS)} == {"control", "too few sends"}
    silent = [replace(one, clicked=False) for one in sent(1000, EVEN)]
    assert {line.verdict for line in lines(silent, HOOKS)} == {"control", "cannot tell"}
    assert "Nobody clicked yet" in " ".join(report(silent, HOOKS, policy=None, silent=3, at=AT).sections[0].text)
    assert lines(sent(300, {"a": 0.0}), HOOKS) == lines([], HOOKS) == []


def test_words_that_left_the_library_keep_their_line() -> None:
    found = {line.component: line for line in lines(sent(2000, {**EVEN, "gone": 0.2}), HOOKS)}
    assert (found["gone"].text, found["gone"].verdict) == ("", "wins")


def test_the_report_holds_the_arms_against_each_other() -> None:
    rows = [replace(one, control=number % 4 == 0, clicked=one.clicked and number % 4 != 0) for number, one in enumerate(sent(2000, EVEN))]
    found = report(rows, HOOKS, policy=CopyPolicy.learn(rows, HOOKS["en"].components), silent=0, at=AT)
    gain = found["gain of choosing"]
    assert gain.low is not None
    assert gain.low > 0.1
    assert {estimate.name for estimate in found.sections[1].estimates} >= {"question", "names_item"}


# -- approval -----------------------------------------------------------------------------------------------------------


def test_the_life_of_a_component(home: Home) -> None:
    approvals = Approvals(home)
    entry = approvals.draft(row(text="We save you {percent_off}"), locale="en", by="ann", at=AT)
    assert (entry.state, entry.version) == ("checked", 1)
    assert entry.component not in approvals.library("en").by_id  # not yet
    approvals.approve(entry.component, by="bea", at=AT, why="fits our voice")
    assert approvals.library("en").by_id[entry.component].template.text == "We save you {percent_off}"
    assert entry.component not in approvals.library("zh-CN").by_id
    second = approvals.draft(row(text="Save {percent_off}"), locale="en", by="ann", at=AT)
    assert (second.state, second.version) == ("checked", 2)
    assert approvals.library("en").by_id[entry.component].template.text == "We save you {percent_off}"  # until version 2 is approved
    approvals.approve(entry.component, by="bea", at=AT)
    assert approvals.library("en").by_id[entry.component].template.text == "Save {percent_off}"
    changed = approvals.diff(entry.component, 1, 2)
    assert '-  "text": "We save you {percent_off}"'.replace("  ", " ") in changed.replace("  ", " ")
    approvals.retire(entry.component, by="bea", at=AT)
    assert entry.component not in approvals.library("en").by_id
    told = [(e.version, e.state, e.by) for e in approvals.log()]
    assert told == [(1, "draft", "ann"), (1, "checked", "guard"), (1, "approved", "bea"), (2, "draft", "ann"), (2, "checked", "guard"),
                    (2, "approved", "bea"), (1, "retired", "bea"), (2, "retired", "bea")]  # fmt: skip


def test_what_the_guard_blocks_stays_a_draft_and_cannot_be_approved(home: Home) -> None:
    approvals = Approvals(home)
    entry = approvals.draft(row(text="The best {title} in the world, guaranteed"), locale="en", by="ann", at=AT)
    assert entry.state == "draft"
    with pytest.raises(StateError, match=r"is draft and cannot become approved.*The guard said: "):
        approvals.approve(entry.component, by="bea", at=AT)
    assert [one.component for one in approvals.waiting()] == [entry.component]


def test_only_low_risk_words_are_approved_by_rule(home: Home) -> None:
    approvals = Approvals(home)
    rows: dict[str, dict[str, Any]] = {
        "plain": {},
        "money": {"text": "It costs {price}"},
        "claim": {"claims": ["soft"]},
        "flagged": {"when": ["in_stock"]},
        "legal": {"role": "footer", "text": "You get this because you asked for it"},
    }
    for name, changes in rows.items():
        approvals.draft(row(f"own.{name}", **changes), locale="en", by="ann", at=AT)
    assert [entry.component for entry in approvals.approve_by_rule(at=AT)] == ["own.plain"]
    assert approvals.current()["own.plain", 1].by == RULE
    risky = load("en").by_id["en.preheader.price"]
    assert not low_risk(risky, ())


def test_a_shop_may_retire_shipped_words_for_good(home: Home) -> None:
    approvals = Approvals(home)
    approvals.retire("en.subject.plain", by="bea", at=AT, why="not our voice")
    assert "en.subject.plain" not in approvals.library("en").by_id
    assert "en.subject.plain" in load("en").by_id
    with pytest.raises(InputError, match="shipped library and cannot be changed"):
        approvals.draft(row("en.subject.plain"), locale="en", by="ann", at=AT)
    with pytest.raises(NotFound, match="Did you mean"):
        approvals.retire("en.subject.plane", by="bea", at=AT)


def test_an_unfinished_line_is_cut_off_and_a_damaged_one_is_said(home: Home) -> None:
    approvals = Approvals(home)
    approvals.draft(row(), locale="en", by="ann", at=AT)
    whole = approvals.path.read_bytes()
    approvals.path.write_bytes(whole + b'{"component": "own.en.ho')
    assert len(approvals.log()) == 2
    approvals.approve(row()["id"], by="bea", at=AT)
    assert [entry.state for entry in approvals.log()] == ["draft", "checked", "approved"]
    approvals.path.write_bytes(b"{nonsense}\n" + whole)
    with pytest.raises(StateError, match="line 1, is damaged"):
        approvals.library("en")


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"text": "Save 20%"}, "stands outside a slot"), ({"role": "slogan"}, 'no role "slogan"'), ({"tone": ""}, "has no tone")],
)
def test_words_that_break_the_rules_are_refused(home: Home, changes: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Approvals(home).draft(row(**changes), locale="en", by="ann", at=AT)
    with pytest.raises(InputError, match="say who approves"):
        Approvals(home).draft(row(), locale="en", by=" ", at=AT)
    with pytest.raises(NotFound, match="locale"):
        Approvals(home).draft(row(), locale="fr", by="ann", at=AT)


# -- proposals ----------------------------------------------------------------------------------------------------------


def test_wishes_are_traits_that_win_and_are_rare() -> None:
    policy = CopyPolicy.learn(sent(2500, {"a": 0.0, "b": 0.25, "c": 0.0, "d": 0.0}), HOOKS["en"].components)
    found = wishes(policy, HOOKS["en"])
    assert [(wish.role, wish.trait) for wish in found] == [("hook", "question")]
    assert found[0].share == 0.25
    assert wishes(CopyPolicy.learn(sent(1500, EVEN), HOOKS["en"].components), HOOKS["en"]) == []


def test_proposals_pass_the_rules_the_guard_and_approval(home: Home) -> None:
    wish = Wish("hook", "en", ("email",), "any", "question", 0.05, 0.1, ("title",), ())
    texts = {"hook question": ["Did you see {title}?", "Look at {title}", "Only 3 left, right?", "", "Is {title} the best in the world?"]}
    found = propose(home, from_file(texts), [wish], by="model-x", now=AT)
    assert [(entry.state, entry.row["text"]) for entry in found.entries] == [
        ("approved", "Did you see {title}?"),
        ("draft", "Is {title} the best in the world?"),
    ]
    assert {text: why.partition(":")[0] for text, why in found.refused}.keys() == {"Look at {title}", "Only 3 left, right?", ""}
    again = propose(home, from_file(texts), [wish], by="model-x", now=AT)
    assert ("Did you see {title}?", "the shop says this already") in again.refused


def test_a_model_is_asked_with_codes_alone_and_believed_as_little_as_anybody(home: Home) -> None:
    """The model server is a fake that answers what the test says."""
    wish = Wish("hook", "en", ("email",), "any", "question", 0.05, 0.1, ("title",), ("A calm start is worth a lot.",))

    class Saying(FaultServer):
        def shaped(self, body: dict[str, Any]) -> Any:
            texts = ["Did you see {title}?", "Did {name} like {title}?", 7, "You pay 3 dollars, right?"]
            return json.dumps({"texts": texts if len(self.seen) == 1 else "none"})

    with Saying() as server:
        chat = Chat(ChatModel(server.url, "tiny"), ledger=home.ledger, now=AT)
        found = propose(home, from_chat(chat, texts=4), [wish], by="tiny", now=AT)
        assert [entry.row["text"] for entry in found.entries] == ["Did you see {title}?"]
        assert len(found.refused) == 2
        assert propose(home, from_chat(chat), [wish], by="tiny", now=AT).entries == ()
        asked = json.loads(server.seen[0][1]["messages"][1]["content"])
    assert set(asked) == {"language", "role", "channels", "tone", "trait", "columns", "slots", "examples", "texts"}


# -- preferences --------------------------------------------------------------------------------------------------------


def test_pairs_and_labels_point_the_right_way_and_hold_nobody() -> None:
    rows = sent(4000, BEST)
    pairs = preferences(rows, HOOKS)
    best = [line for line in pairs if "Fancy {title}?" in (line["chosen"], line["rejected"])]
    assert best
    assert all(line["chosen"] == "Fancy {title}?" for line in best)
    assert all(line["weight"] > 0 and line["messages"] >= 200 for line in pairs)
    labels = {line["completion"]: line["label"] for line in preferences(rows, HOOKS, style="labels") if line["segment"] is None}
    assert (labels["Fancy {title}?"], labels["Our {title}"]) == (True, False)
    text = json.dumps([*pairs, *preferences(rows, HOOKS, style="labels")])
    assert not any(f'"{row.customer}"' in text or row.decision_id in text for row in rows)


def test_thin_support_gives_no_line(tmp_path: Path) -> None:
    assert preferences(sent(400, BEST), HOOKS) == []
    assert preferences(sent(3000, BEST, customers=20), HOOKS) == []  # many messages to few people
    with pytest.raises(InputError, match='no style "dpo"'):
        preferences([], HOOKS, style="dpo")
    with pytest.raises(InputError, match="support must be 2"):
        preferences([], HOOKS, support=1)
    assert write([{"a": 1}], tmp_path / "p.jsonl") == 1
    with pytest.raises(InputError, match="Cannot write"):
        write([], tmp_path / "no" / "p.jsonl")


# -- the desk -----------------------------------------------------------------------------------------------------------


def test_the_desk_adds_shows_and_asks_who(home: Home, tmp_path: Path) -> None:
    words = Words(home, now=lambda: AT)
    path = tmp_path / "own.toml"
    each = '[[component]]\nid = "{}"\nrole = "hook"\ntone = "warm"\nchannels = ["email"]\ntext = "{}"\n'
    path.write_text('locale = "en"\n' + each.format("own.hi", "Hello") + each.format("own.cost", "It is {price}"))
    nothing: dict[str, Any] = {"show": None, "add": None, "approve": None, "retire": None, "by": None, "export": None, "style": "pairs"}
    with pytest.raises(InputError, match="--by NAME"):
        act(words, **nothing | {"add": path})
    done, text = act(words, **nothing | {"add": path, "by": "ann"})
    assert [entry["state"] for entry in done["entries"]] == ["approved", "checked"]
    assert "own.cost version 1 is checked" in text
    done, text = act(words, **nothing | {"show": "approvals"})
    assert [entry["component"] for entry in done["waiting"]] == ["own.cost"]
    act(words, **nothing | {"approve": "own.cost", "by": "bea"})
    assert act(words, **nothing | {"show": "approvals"})[1] == "No words wait for approval."
    with pytest.raises(NotFound, match="thing to show"):
        act(words, **nothing | {"show": "word"})
    with pytest.raises(StateError, match="tradewind learn"):
        act(words, **nothing | {"show": "wishes"})
    path.write_text("locale = 3\n[component]\n")
    with pytest.raises(InputError, match=r"no locale or no \[\[component\]\]"):
        words.add(path, by="ann")
    with pytest.raises(InputError, match="Cannot read"):
        words.add(tmp_path / "none.toml", by="ann")
