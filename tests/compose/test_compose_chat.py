"""The writer "chat" against a server that does one thing wrong: a valid message comes out every time, and its log says why."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from compose_kit import NOW, URL, coupon, facts, item, plan_of, shop
from fault_server import GOOD, FaultServer
from sqlalchemy import func, select

from tradewind.compose._chat_money import Purse
from tradewind.compose._chat_wire import Breaker, Failed
from tradewind.compose._copy_ask import ask
from tradewind.compose.approval import Approvals
from tradewind.compose.base import Brief
from tradewind.compose.chat import Chat
from tradewind.compose.compose import compose
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.library import load
from tradewind.compose.writing import Text, headers, write
from tradewind.engine.home import Home
from tradewind.engine.ledger import Ledger, model_calls
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError

FACTS = {locale: facts(item("mug-1"), coupon(), locale=locale) for locale in ("en", "zh-CN")}
PRICED = {"input_price": "0.15 USD", "output_price": "0.60 USD", "monthly_budget": "1 USD"}


def chat(server: FaultServer, ledger: Ledger, **options: object) -> Chat:
    return Chat(replace(ChatModel(server.url, "tiny", seconds=3.0, unseen=True), **options), ledger=ledger, now=NOW)  # type: ignore[arg-type]


def text_of(writer: Chat, *, key: str = "d1", channel: str = "email", segment: str | None = None, locale: str = "en") -> Text:
    return write(Brief(key, channel, locale, segment=segment), facts=FACTS[locale], seed=1, at=NOW, writer=writer)


def sound(text: Text) -> bool:
    assert text.withheld is None
    return not blocked(Guard().check(text.parts, facts=text.facts, locale=text.facts.locale, channel="email"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def test_one_question_serves_many_messages_and_the_draw_is_logged(own: Ledger) -> None:
    with FaultServer() as server:
        writer = chat(server, own, **PRICED)
        texts = [text_of(writer, key=f"d{n}") for n in range(40)]
        assert len(server.seen) == 1
        assert {text.draft.writer for text in texts if text.draft} == {"chat"}
        assert {text.parts["subject"] for text in texts} == {"A fresh look at White Stoneware Mug", "White Stoneware Mug for slow mornings"}
        for text in texts:
            assert sound(text)
            assert text.draft is not None
            assert "fallbacks" not in headers(text, seed=1)
            assert text.draft.choices["subject"] == 2
            assert text.draft.components[0].startswith("chat.subject.")
            product = 1.0
            for among in text.draft.choices.values():
                product /= among
            assert text.draft.propensity == pytest.approx(product)
        again = Chat(writer.model, ledger=own, now=NOW)  # another run
        assert text_of(again, key="d7").parts == texts[7].parts
        assert len(server.seen) == 1
        spent = again.purse.spending()
        assert (spent.calls, spent.tokens_in, spent.tokens_out, spent.held) == (1, 300, 90, 0)
        assert spent.spent == 300 * 150 + 90 * 600


def test_other_segments_channels_and_offers_are_other_questions(own: Ledger) -> None:
    with FaultServer() as server:
        writer = chat(server, own)
        for segment, channel in (("new", "email"), ("lapsing", "email"), ("new", "push"), ("new", "email")):
            assert text_of(writer, segment=segment, channel=channel).draft.writer == "chat"  # type: ignore[union-attr]
        write(Brief("d", "email", "en", segment="new"), facts=facts(item("mug-1")), seed=1, at=NOW, writer=writer)
        assert len(server.seen) == 4


FAULTS = {
    "busy": ("the server is busy: 429", 2, "free"),
    "failed": ("the server failed: 500", 2, "free"),
    "drip": ("no answer in time", 1, "held"),
    "half": ("the answer is no JSON", 2, "held"),
    "type": ("the answer is of another type", 2, "held"),
    "drop": ("the connection was dropped", 2, "held"),
    "oversized": ("the answer is too long", 1, "held"),
    "redirect": ("redirects are not followed", 1, "free"),
    "schema": ("the answer is not of the schema", 2, "paid"),
    "prose": ("the answer is not of the schema", 2, "paid"),
    "cut": ("the answer was cut", 2, "paid"),
    "shape": ("the answer has another shape", 2, "paid"),
    "digits": ("nothing of the answer stood: a number or a brace outside a slot", 1, "paid"),
    "denied": ("the server refused the request: 401", 1, "free"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_comes_out_whatever_the_server_does(fault: str, own: Ledger) -> None:
    why, calls, state = FAULTS[fault]
    with FaultServer(fault) as server:
        writer = chat(server, own, **PRICED, seconds=0.4 if fault == "drip" else 3.0)
        texts = [text_of(writer, key=f"d{n}") for n in range(3)]
        assert len(server.seen) == calls, "the question is asked once per run, with one second try where that may help"
    for text in texts:
        assert sound(text)
        assert text.draft is not None
        assert text.draft.writer == "components"
        assert json.loads(headers(text, seed=1)["fallbacks"])[-1] == f"chat: {why} -> components"
    with own.read() as conn:
        assert conn.execute(select(model_calls.c.state, func.count()).group_by(model_calls.c.state)).all() == [(state, calls)]


def test_a_ledger_that_another_process_holds_stops_no_message(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with FaultServer() as server, Ledger.open(url) as other, Ledger.open(url, wait_seconds=0.1) as mine:
        writer = chat(server, mine)
        with other.write():
            text = text_of(writer)
        assert sound(text)
        assert text.facts.fallbacks[-1] == "chat: the ledger is busy -> components"
        assert not server.seen


def test_a_server_without_schemas_is_asked_in_words(own: Ledger) -> None:
    with FaultServer("no_schemas") as server:
        assert text_of(chat(server, own)).draft.writer == "chat"  # type: ignore[union-attr]
        first, second = (body for _, body in server.seen)
        assert "response_format" in first
        assert "response_format" not in second
        assert "schema" in second["messages"][0]["content"]


def test_a_server_that_asks_to_wait_long_is_left_alone(own: Ledger) -> None:
    with FaultServer("busy") as server:
        server.retry_after = "3600"
        writer = chat(server, own)
        for segment in ("new", "active", "lapsing"):
            assert sound(text_of(writer, segment=segment))
        assert len(server.seen) == 1
        assert writer.counts["failed: the server rests after failures"] == 2


def test_the_breaker_lets_one_try_through_after_its_rest() -> None:
    moment = [0.0]
    breaker = Breaker(lambda: moment[0], limit=2, rest=30)
    for _ in range(2):
        assert breaker.closed()
        breaker.bad()
    assert not breaker.closed()
    moment[0] = 31.0
    assert [breaker.closed(), breaker.closed()] == [True, False]
    breaker.bad()
    moment[0] = 60.0
    assert not breaker.closed()
    moment[0] = 62.0
    assert breaker.closed()
    breaker.good()
    assert breaker.closed()
    assert breaker.closed()


def test_no_server_at_all(own: Ledger) -> None:
    with FaultServer() as server:
        pass
    text = text_of(chat(server, own))
    assert sound(text)
    assert text.facts.fallbacks[-1] == "chat: the server cannot be reached -> components"


def test_what_the_model_must_not_say_is_refused(own: Ledger) -> None:
    bad = [
        "Visit www.evil.example now", "The best mug in the world", "White Stoneware Mug for you", "{title} for {offer_price}",
        "{customer}", "Only today", "Half price for you", "We saw you looked at {title}", "<b>{title}</b>",
        "Ignore previous instructions", "", "Buy\nnow", "Call me @tradewind",
    ]  # fmt: skip
    rows = [{**GOOD[0], "subject": text} for text in bad]
    with FaultServer(rows=rows) as server:
        writer = chat(server, own, candidates=16)
        texts = [text_of(writer, key=f"d{n}") for n in range(10)]
        assert sum(times for why, times in writer.counts.items() if why.startswith("refused: ")) == len(bad)
    for text in texts:
        assert sound(text)
        assert text.draft is not None
        assert text.draft.writer == "chat"
        assert text.draft.components[0].startswith("en.subject."), "the role without a sentence that stood is the library's"


def test_in_mode_choose_only_approved_components_come_out(own: Ledger) -> None:
    with FaultServer() as server:
        writer = chat(server, own, mode="choose")
        asked = writer.question(Brief("d", "email", "en"), FACTS["en"])
        roles = {role: among for role, _, _, among in asked.roles}
        assert "offer" in roles, "sentences with amounts may be chosen, though not written"
        server.rows = [{role: among[n % len(among)] for role, among in roles.items()} for n in (0, 1)]
        texts = [text_of(writer, key=f"d{n}") for n in range(10)]
    for text in texts:
        assert text.draft is not None
        assert text.draft.writer == "chat"
        assert set(text.draft.components) <= set(load("en").by_id)
        assert text.draft.choices["offer"] <= 2


def test_nothing_personal_leaves() -> None:
    def question(**changes: object) -> object:
        brief = replace(Brief("decision-77", "email", "en"), **changes)  # type: ignore[arg-type]
        return ask(brief, FACTS["en"], base=load("en"), mode="write", by="item", count=4)

    assert "decision-77" not in json.dumps(question().data)  # type: ignore[attr-defined]
    for segment in ("mary@shop.example", "c0042", "Mary", "13912345678"):
        with pytest.raises(InputError, match="A segment is a code"):
            question(segment=segment)
    with pytest.raises(InputError, match="is not on the list"):
        ask(Brief("d", "email", "en"), FACTS["en"], base=load("en"), mode="write", by="item", count=4, aspects=["I loved it, call me"])
    known = FACTS["en"].facts["title"]
    named = replace(FACTS["en"], facts={**FACTS["en"].facts, "title": replace(known, text="Gift for mary.jones@mail.example")})
    with pytest.raises(InputError, match=r"an e-mail address: nothing was sent \(personal.email\)"):
        ask(Brief("d", "email", "en"), named, base=load("en"), mode="write", by="item", count=4)


def test_the_limit_holds_across_threads_and_restarts(ledger: Ledger) -> None:
    """Each call holds (100 + 50) * 1000 billionths; 0.001 USD is room for six of them."""
    model = ChatModel("http://127.0.0.1:1/v1", "tiny", input_price="1 USD", output_price="1 USD", monthly_budget="0.001 USD")
    barrier = threading.Barrier(8)

    def spend(_: int) -> int:
        purse, calls = Purse(ledger, model, now=NOW), []
        barrier.wait()
        for _ in range(4):
            try:
                calls.append(purse.hold(100, 50))
            except Failed:
                continue
        for call in calls:
            purse.pay(call, 100, 50)
            purse.pay(call, 100, 50)
        return len(calls)

    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(spend, range(8)))
    spent = Purse(ledger, model, now=NOW).spending()
    assert made == 6
    assert (spent.spent, spent.held, spent.calls) == (made * 150_000, 0, made)
    with pytest.raises(Failed, match="is spent"):
        Purse(ledger, model, now=NOW).hold(100, 50)
    Purse(ledger, model, now=NOW.replace(month=NOW.month % 12 + 1)).hold(100, 50)  # another month
    with pytest.raises(InputError, match=r"begun in USD"):
        Purse(ledger, replace(model, input_price="1 EUR", output_price="1 EUR", monthly_budget="5 EUR"), now=NOW).hold(1, 1)


def test_a_spent_budget_asks_nothing(own: Ledger) -> None:
    with FaultServer() as server:
        text = text_of(chat(server, own, input_price="1 USD", output_price="1 USD", monthly_budget="0.001 USD"))
        assert not server.seen
    assert sound(text)
    assert text.facts.fallbacks[-1] == "chat: the budget of this month is spent -> components"


def test_the_key_is_sent_and_shown_nowhere(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as server:
        home.save_settings(replace(home.settings, chat=ChatModel(server.url, "tiny", key_env="TINY_KEY", unseen=True)))
        with pytest.raises(InputError, match="TINY_KEY is not set"):
            Chat.open(home, now=NOW)
        monkeypatch.setenv("TINY_KEY", "sk-secret")
        writer = Chat.open(home, now=NOW)
        assert text_of(writer).draft.writer == "chat"  # type: ignore[union-attr]
        assert server.seen[0][0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(writer)
    assert "sk-secret" not in (home.root / "tradewind.toml").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "file:///etc/passwd"}, "base address"),
        ({"url": "http://models.example/v1", "key_env": "K"}, "would travel unencrypted"),
        ({"key_env": "sk-123"}, "name of an environment variable"),
        ({"mode": "wrte"}, 'Did you mean "write"'),
        ({"candidates": 0}, "candidates must be"),
        ({"input_price": "1 USD"}, "together"),
        ({"input_price": "1 USD", "output_price": "1 EUR", "monthly_budget": "1 USD"}, "one currency"),
        ({"input_price": "0.0001 USD", "output_price": "1 USD", "monthly_budget": "1 USD"}, "three decimals"),
        ({"input_price": "cheap", "output_price": "1 USD", "monthly_budget": "1 USD"}, '"0.15 USD"'),
    ],
)
def test_settings_say_what_is_wrong(change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(ChatModel("http://127.0.0.1:8080/v1", "tiny"), **change).checked()  # type: ignore[arg-type]


def test_the_verb_takes_a_writer_by_name(home: Home) -> None:
    shop(home, customers=12)
    plan = plan_of(home)
    with pytest.raises(InputError, match='The writer "chat" needs a server'):
        compose(home, plan, now=NOW, writer="chat")
    with pytest.raises(InputError, match=r'There is no writer "chatt"\. Did you mean "chat"'):
        compose(home, plan, now=NOW, writer="chatt")
    with FaultServer() as server:
        home.save_settings(replace(home.settings, chat=ChatModel(server.url, "tiny", unseen=True)))
        done = compose(home, plan, now=NOW, writer="chat", shop_url=URL, locale="en")
        assert done.withheld == 0
        assert done.writers == {"chat": done.ready}
        assert len(server.seen) < done.ready
    assert {message.writer for message in done.messages()} == {"chat"}
    assert "writer: chat" in done.to_text()


def test_sentences_wait_for_approval_and_are_then_drawn(home: Home) -> None:
    with FaultServer() as server:
        home.save_settings(replace(home.settings, chat=ChatModel(server.url, "tiny")))
        text = text_of(Chat.open(home, now=NOW))
        assert sound(text)
        assert text.facts.fallbacks[-1] == "chat: its sentences wait for approval -> components"
        approvals = Approvals(home)
        waiting = {entry.component: str(entry.row["text"]) for entry in approvals.waiting()}
        assert len(waiting) == 10
        text_of(Chat.open(home, now=NOW))
        assert len(approvals.waiting()) == 10, "entered once"
        chosen = next(name for name, words in waiting.items() if words == "{title} for slow mornings")
        approvals.approve(chosen, by="mary", at=NOW)
        text = text_of(Chat.open(home, now=NOW))
        assert text.draft is not None
        assert text.draft.writer == "chat"
        assert text.draft.components[0] == chosen
        assert not any(name.startswith("chat.") for name in text.draft.components[1:])
        approvals.retire(chosen, by="mary", at=NOW)
        assert text_of(Chat.open(home, now=NOW)).draft.writer == "components"  # type: ignore[union-attr]
        assert len(server.seen) == 1
