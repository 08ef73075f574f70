"""Batch files: questions out, answers in, money set aside between the two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compose_kit import NOW, plan_of, shop
from fault_server import GOOD, completion

from tradewind import Shop
from tradewind.compose.chat import Chat
from tradewind.engine.home import Home
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError, NotFound

MODEL = ChatModel("http://127.0.0.1:1/v1", "tiny", unseen=True, input_price="1 USD", output_price="1 USD", monthly_budget="1 USD")


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    with Home.open(tmp_path / "shop") as home:
        shop(home, customers=12)
        home.save_settings(replace(home.settings, chat=MODEL))
        plan_of(home)
    with Shop.open(tmp_path / "shop", now=lambda: NOW) as found:
        yield found


def test_questions_out_answers_in(opened: Shop, tmp_path: Path) -> None:
    plan, out, back = opened.plan(), tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    number = opened.write_batch(plan, out)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == number > 1
    assert {(line["method"], line["url"], line["body"]["model"]) for line in lines} == {("POST", "/v1/chat/completions", "tiny")}
    held = Chat.open(opened.home, now=NOW).purse.spending()
    assert held.calls == number
    assert held.held > 0
    assert held.spent == 0
    assert opened.write_batch(plan, out) == number
    assert Chat.open(opened.home, now=NOW).purse.spending() == held, "writing again sets nothing aside twice"

    def answer(line: dict[str, Any]) -> dict[str, Any]:
        roles = line["body"]["response_format"]["json_schema"]["schema"]["properties"]["candidates"]["items"]["required"]
        body = completion([{role: row[role] for role in roles} for row in GOOD])
        return {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}

    answers = [answer(line) for line in lines]
    refused = {"id": "x", "custom_id": lines[0]["custom_id"], "response": {"status_code": 400, "body": {}}, "error": None}
    strange = {**answers[1], "custom_id": "nobody"}
    back.write_text("\n".join([json.dumps(refused), "half a li", json.dumps(strange), *(json.dumps(a) for a in answers[1:])]) + "\n")
    loaded = opened.load_batch(back)
    assert loaded.kept == number - 1
    assert loaded.refused == {
        "the provider refused the request": 1, "no line of a batch file": 1, "nobody waits for this answer": 1,
    }  # fmt: skip
    spent = Chat.open(opened.home, now=NOW).purse.spending()
    assert (spent.held, spent.spent) == (0, (number - 1) * 390_000)
    assert opened.load_batch(back).kept == 0, "an answer counts once"
    done = opened.compose(plan, writer="chat")
    assert done.withheld == 0
    assert done.writers["chat"] > 0
    assert done.writers["chat"] + done.writers.get("components", 0) == done.ready


def test_a_limit_that_is_too_small_writes_no_file(opened: Shop, tmp_path: Path) -> None:
    opened.home.save_settings(replace(opened.home.settings, chat=replace(MODEL, monthly_budget="0.005 USD")))
    with pytest.raises(InputError, match=r"No batch was written: the budget of this month is spent\. Raise chat\.monthly_budget"):
        opened.write_batch(opened.plan(), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    assert Chat.open(opened.home, now=NOW).purse.spending().held == 0
    with pytest.raises(NotFound, match="does not exist"):
        opened.load_batch(tmp_path / "none.jsonl")
