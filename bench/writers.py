"""Does a message come out whatever a model server does? Fall-back success per fault, calls for a campaign, spend against the limit.

A server of the tests (``tests/compose/fault_server.py``) does one thing wrong all the time; every request is a question of its own, so
that no cache answers, and the breaker is off, so that every request meets the fault. A request succeeds when a text comes out that
the guard lets through on a second look, and says in its log which writer gave way and why. ``campaign_*``: messages for many
customers over a small catalogue with a server that answers. ``spend_*``: many threads against one small budget.
``novelty_*``: the small Transformer on the shipped library.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from _harness import Harness, clock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "compose"))

from compose_kit import NOW, coupon, facts, item
from fault_server import FaultServer

from tradewind.compose._copy_corpus import approved
from tradewind.compose.base import Brief
from tradewind.compose.chat import Chat
from tradewind.compose.facts import Facts
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.library import load
from tradewind.compose.transformer import fitted, report
from tradewind.compose.writing import Text, headers, write
from tradewind.engine.ledger import Ledger
from tradewind.engine.models import ChatModel

CHANNELS = ("email", "push", "sms", "inapp")
FAULTS = ("busy", "failed", "drip", "half", "type", "drop", "oversized", "redirect", "schema", "prose", "cut", "shape", "digits", "denied")
THREADS = 8


def code(number: int) -> str:
    """A segment code of letters."""
    return "s" + "".join(chr(97 + number // 26**place % 26) for place in range(4))


def stands(text: Text, brief: Brief, guard: Guard) -> bool:
    """Whether a text came out that the guard lets through on a second look, and its log says who wrote it and who gave way."""
    if text.withheld or text.draft is None:
        return False
    again = guard.check(text.parts, facts=text.facts, locale=brief.locale, channel=brief.channel)
    said = text.draft.writer == "chat" or "chat: " in headers(text, seed=0).get("fallbacks", "")
    return said and not blocked(again)


def misbehave(bench: Harness, fault: str, known: dict[str, Facts], folder: str, count: int) -> None:
    """Many questions to a server with one fault."""
    guard, wrote, calls = Guard(), Counter(), Counter()
    with FaultServer(fault) as server, Ledger.open(f"sqlite:///{folder}/{fault}.db") as ledger:
        model = ChatModel(server.url, "bench", unseen=True, seconds=0.4 if fault == "drip" else 5.0, run_seconds=86_400)

        def work(part: int) -> int:
            chat, good = Chat(model, ledger=ledger, now=NOW), 0
            chat.breaker.limit = 10**9
            for number in range(part, count, THREADS):
                locale = ("en", "zh-CN")[number % 2]
                brief = Brief(str(number), "email" if fault == "none" else CHANNELS[number % 3], locale, segment=code(number))
                if brief.channel == "sms":
                    brief = replace(brief, channel="inapp")
                text = write(brief, facts=known[locale], seed=0, at=NOW, writer=chat, guard=guard)
                good += stands(text, brief, guard)
                wrote[text.draft.writer if text.draft else "nobody"] += 1
            calls.update(chat.counts)
            return good

        with clock() as taken, ThreadPoolExecutor(THREADS) as pool:
            good = sum(pool.map(work, range(THREADS)))
        reached = len(server.seen)
    bench.figure(f"{fault}_requests", count, target=(">=", 1000))
    bench.figure(f"{fault}_fallback_success", good / count, target=("==", 1.0))
    print(f"  {reached:,} HTTP requests in {taken['wall']:.0f} s; written by {dict(wrote)}")
    for why, times in calls.most_common(4):
        print(f"  {times:>8,}  {why}")


def campaign(bench: Harness, folder: str, count: int) -> None:
    """Messages of one campaign with a server that answers: how many calls they take."""
    rng, guard = random.Random(bench.arguments.seed), Guard()
    goods = [item(f"mug-{n}", category=f"Home > Room {chr(65 + n % 20)}") for n in range(200)]
    known = {(n, locale): facts(row, coupon(), locale=locale) for n, row in enumerate(goods) for locale in ("en", "zh-CN")}
    wrote: Counter[str] = Counter()
    with FaultServer() as server, Ledger.open(f"sqlite:///{folder}/campaign.db") as ledger:
        model = ChatModel(
            server.url, "bench", unseen=True, input_price="0.15 USD", output_price="0.6 USD", monthly_budget="100 USD", run_seconds=86_400
        )
        chat = Chat(model, ledger=ledger, now=NOW)
        with clock() as taken:
            for number in range(count):
                brief = Brief(str(number), rng.choice(("email", "inapp")), "en", segment=rng.choice(("new", "active", "lapsing")))
                text = write(brief, facts=known[rng.randrange(len(goods)), "en"], seed=0, at=NOW, writer=chat, guard=guard)
                wrote[text.draft.writer if text.draft and not text.withheld else "nobody"] += 1
        spent = chat.purse.spending()
        bench.figure("campaign_messages", count, target=(">=", 100_000))
        bench.figure("campaign_calls", len(server.seen), target=("<=", 200))
        bench.figure("campaign_written_by_chat", wrote["chat"] / count)
        bench.figure("campaign_withheld", wrote["nobody"], target=("==", 0))
        bench.figure("campaign_messages_per_cpu_second", count / taken["cpu"])
        bench.figure("campaign_ledger_error", abs(spent.spent - len(server.seen) * (300 * 150 + 90 * 600)) + spent.held, target=("==", 0))


def limit(bench: Harness, known: dict[str, Facts], folder: str) -> None:
    """Many threads, each with its own writer, and money for a few calls: what was spent and held never passes the limit."""
    with FaultServer() as server, Ledger.open(f"sqlite:///{folder}/limit.db") as ledger:
        model = ChatModel(
            server.url, "bench", unseen=True, input_price="1 USD", output_price="1 USD", monthly_budget="0.02 USD", max_tokens=500
        )

        def work(part: int) -> None:
            chat = Chat(model, ledger=ledger, now=NOW)
            for number in range(part, 320, THREADS):
                write(Brief(str(number), "email", "en", segment=code(number)), facts=known["en"], seed=0, at=NOW, writer=chat)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        spent = Chat(model, ledger=ledger, now=NOW).purse.spending()
        bench.figure("spend_calls", len(server.seen))
        bench.figure("spend_share_of_limit", (spent.spent + spent.held) / (0.02 * 10**9), target=("<=", 1.0))
        bench.figure("spend_ledger_error", abs(spent.spent - len(server.seen) * 390 * 1000), target=("==", 0))


def novelty(bench: Harness) -> None:
    """The small Transformer on the shipped library: CPU seconds to train and measure, and what it adds."""
    with clock() as taken:
        _, found = fitted(approved([load("en"), load("zh-CN")]), seed=0, steps=20 if bench.quick else None)
    bench.figure("novelty_cpu_seconds", taken["cpu"])
    for name, value in asdict(found).items():
        bench.figure(f"novelty_{name}", value)
    print(f"  {report(found)}")


def main() -> None:
    """Run the benchmark."""
    bench = Harness("writers", __doc__, extra={"--only": {"help": "one fault, campaign, or novelty"}})
    only, count = bench.arguments.only, 32 if bench.quick else 1000
    known = {locale: facts(item("mug-1"), coupon(), locale=locale) for locale in ("en", "zh-CN")}
    with tempfile.TemporaryDirectory() as folder:
        for fault in FAULTS:
            if only in (None, fault):
                misbehave(bench, fault, known, folder, count)
        if only in (None, "campaign"):
            campaign(bench, folder, 1_000 if bench.quick else 100_000)
            limit(bench, known, folder)
    if only in (None, "novelty"):
        novelty(bench)
    bench.finish()


if __name__ == "__main__":
    main()
