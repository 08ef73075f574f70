"""The whole loop on a simulated shop: what ``tradewind demo`` and ``make demo`` run. Everything here is simulated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.asked import CHANNEL_COSTS
from tradewind.errors import InputError
from tradewind.shop import Shop
from tradewind.types import Estimate, Report, Section, utc

if TYPE_CHECKING:
    import pyarrow as pa

    from tradewind.collect.report import Check, CollectReport
    from tradewind.decide.plan import Plan
    from tradewind.simulate.world import World

START = date(2026, 1, 5)
HISTORY_DAYS = 120
WINDOW_DAYS = 14
HOLDOUT = 0.25  # large: the demo is there to measure
BUDGET_PER_CUSTOMER = 150  # minor units a round
EXAMPLE = 120  # letters
MARK = ".tradewind-demo"  # says that the folder is a demo's, to be made anew
SHOWN = ("subject", "preheader", "title", "body", "action")  # parts of a message that the report shows, in this order
EPOCHS = 3  # enough to show the loop in minutes; a real shop leaves it to early stopping
MODEL = {"tiny": "tiny", "small": "tiny", "medium": "small", "large": "small"}  # size of the Transformer


@dataclass
class Clock:
    """The simulated shop's clock."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


@dataclass(frozen=True)
class Round:
    """One turn of the loop: the plan, its report, what the simulation knows."""

    plan: Plan
    report: Report
    truth: float
    messages: dict[str, int]


def demo(
    folder: Path,
    *,
    size: str = "small",
    rounds: int = 3,
    seed: int = 7,
    progress: Callable[[float, str], None] = lambda _share, _what: None,
    say: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Simulate a shop, run the loop ``rounds`` times, and write ``report.html``, ``report.json`` into ``folder``.

    Each round decides from what is known, writes and delivers the messages to an outbox, lets the simulated customers
    answer, and measures against the holdout; the next round learns from it. Returns the figures.

    Raises
    ------
    InputError
        The folder is not empty and holds no demo, or ``rounds`` is not positive.
    """
    from tradewind.simulate.world import World

    if isinstance(rounds, bool) or rounds < 1:
        raise InputError(f"demo: rounds must be a whole number from 1; got {rounds!r}.")
    steps = 4 + rounds
    progress(0.0, "simulating a shop")
    world = World.make(size, seed=seed, start=START, days=HISTORY_DAYS)
    _prepare(folder)
    say(f"A simulated shop: {world.customers:,} customers, {world.items:,} items, {HISTORY_DAYS} days of history.")
    world.write(folder / "export", dirt=0.01)
    clock = Clock(world.end)
    with Shop.open(folder / "shop", now=clock) as shop:
        shop.home.save_settings(replace(shop.home.settings, name="Harbour", url="https://harbour.example", simulated=True))
        progress(1 / steps, "collecting")
        collected = shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        say(f"Collected {collected.rows_stored:,} rows; {collected.rows_quarantined:,} in quarantine, {collected.duplicates:,} duplicates.")
        progress(2 / steps, "learning")
        learned = shop.learn(size=MODEL.get(size, "tiny"), as_of=world.end, evaluate=True, epochs=EPOCHS, seed=seed)
        turns: list[Round] = []
        for turn in range(rounds):
            progress((3 + turn) / steps, f"plan {turn + 1} of {rounds}")
            if turn:
                shop.learn(size=MODEL.get(size, "tiny"), as_of=clock.at, epochs=EPOCHS, seed=seed)
            done, world = play(shop, world, clock, seed=seed + turn)
            turns.append(done)
            say(_line(turn + 1, done))
        report = _report(shop, turns, collected, learned)
    return _write(folder, report, turns)


def play(shop: Shop, world: World, clock: Clock, *, seed: int) -> tuple[Round, World]:
    """One turn: decide, compose, deliver, let the simulated customers answer, measure, collect what came of it."""
    start = clock.at
    budget = world.customers * BUDGET_PER_CUSTOMER
    plan = shop.decide(
        budget=f"{budget / 100:.2f} {shop.home.settings.currency}", holdout=HOLDOUT, window_days=WINDOW_DAYS, as_of=start, seed=seed
    )
    shop.compose(plan, seed=seed)
    sent = hand_off(shop, plan, clock)
    contacts = contacts_of(shop, plan)
    answers = world.respond(contacts, start=start, days=WINDOW_DAYS, seed=seed)
    from tradewind.simulate.truth import true_profit

    exact = true_profit(world, contacts, start=start, days=WINDOW_DAYS, costs={k: float(v) for k, v in CHANNEL_COSTS.items()})
    truth = float(sum(exact["profit"].to_pylist()))
    clock.at = start + timedelta(days=WINDOW_DAYS)
    shop.collect(answers)
    report = shop.measure(plan, as_of=clock.at, truth=truth)
    shop.collect(report.outcomes)
    return Round(plan, report, truth, sent), world.after(contacts)


def hand_off(shop: Shop, plan: Plan, clock: Clock) -> dict[str, int]:
    """Hand off to the outbox hour by hour, as a scheduler would, until nothing is left that becomes due."""
    from tradewind.deliver.channels.outbox import Outbox

    states: dict[str, int] = {}
    with Outbox() as outbox:
        for _ in range(48):
            clock.at += timedelta(hours=1)
            done = shop.deliver(plan, dry_run=False, to=outbox)
            states = dict(done.states)
            if not {"planned", "ready"} & states.keys():
                break
    return states


def contacts_of(shop: Shop, plan: Plan) -> pa.Table:
    """The messages of a plan that were really handed off, as the simulated customers receive them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from sqlalchemy import select

    from tradewind.engine.ledger import outbox
    from tradewind.simulate.respond import CONTACTS

    with shop.home.ledger.read() as connection:
        sent = select(outbox.c.decision_id).where(outbox.c.plan_id == plan.plan_id, outbox.c.state == "accepted")
        ids = pa.array(connection.execute(sent).scalars().all(), pa.string())
    rows = plan.table.filter(pc.is_in(plan.table["decision_id"], value_set=ids))
    offers = plan.meta["offers"]
    columns = {name: rows[name] for name in ("decision_id", "customer", "offer", "item", "channel", "send_at")}
    columns["offer_kind"] = pa.array([str(offers[offer]["kind"]) for offer in rows["offer"].to_pylist()], pa.string())
    columns["terms"] = pa.array([json.dumps(offers[offer]["terms"]) for offer in rows["offer"].to_pylist()], pa.string())
    return pa.table(columns).cast(CONTACTS)


def _prepare(folder: Path) -> None:
    import shutil

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the demo.")
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if others and MARK not in others:  # only what a demo made is ever removed
        raise InputError(f"{folder} is not empty (it has {others[0]!r}) and no demo was made there. Give a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    for name in ("export", "shop", "truth"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _total(done: Round) -> Estimate | None:
    return next((e for s in done.report.sections for e in s.estimates if e.name == "incremental profit"), None)


def _line(number: int, done: Round) -> str:
    from tradewind.measure.report import interval
    from tradewind.measure.report import number as shown

    currency = str(done.plan.meta["currency"])
    total = _total(done)
    earned = f"{shown(total.value, 'minor', currency=currency)} ({interval(total, currency=currency)})" if total else "cannot be told"
    return (
        f"Plan {number}: {done.messages.get('accepted', 0):,} messages delivered; estimated incremental profit {earned}; "
        f"true (simulated) {shown(done.truth, 'minor', currency=currency)}."
    )


def together(turns: list[Round]) -> Estimate | None:
    """All rounds added up. Holdouts are drawn anew each round, so given the past the errors are uncorrelated and variances add."""
    totals = [_total(done) for done in turns]
    found = [total for total in totals if total is not None and total.low is not None and total.high is not None]
    if len(found) < len(turns) or not found:
        return None
    value = sum(total.value for total in found)
    half = math.sqrt(sum(((total.high or 0.0) - (total.low or 0.0)) ** 2 / 4 for total in found))
    return Estimate("incremental profit", value, value - half, value + half, found[0].level, None, "minor")


def _report(shop: Shop, turns: list[Round], collected: CollectReport, learned: Report) -> Report:
    from tradewind.measure import plots
    from tradewind.measure.report import interval, number, units

    currency = str(shop.home.settings.currency)
    whole, truth = together(turns), sum(done.truth for done in turns)
    rows, shown, truths = [], [], {}
    for place, done in enumerate(turns, 1):
        total = _total(done)
        rows.append(
            {
                "plan": place,
                "from": str(done.plan.meta["as_of"])[:10],
                "messages": done.messages.get("accepted", 0),
                "estimated profit": number(total.value, "minor", currency=currency) if total else "-",
                "interval (95%)": interval(total, currency=currency) if total else "-",
                "true profit (simulated)": number(done.truth, "minor", currency=currency),
            }
        )
        if total:
            shown.append(replace(total, name=f"plan {place}"))
            truths[f"plan {place}"] = done.truth
    estimates = (*([whole] if whole else []), Estimate("true incremental profit (simulated)", truth, unit="minor"))
    said = (
        _verdict(whole, truth, currency=currency),
        (
            "Profit is what customers brought in on top of what they would have brought in without a message, after discounts and contact "
            "costs. A real shop sees only the estimate; a simulation also knows the truth, which shows whether estimates can be trusted."
        ),
        f"{len(turns)} plans, {WINDOW_DAYS} days each; every plan learns from the ones before.",
    )
    picture = plots.intervals(shown, title="Incremental profit of each plan", unit=currency, truths=truths, scale=units(currency))
    top = Section("What the loop earned", said, estimates, tuple(rows), (picture,))
    last = turns[-1].report
    newest = [replace(one, title=f"Plan {len(turns)}: {one.title[0].lower()}{one.title[1:]}") for one in last.sections]
    words = Section(
        f"Plan {len(turns)}: some of its messages",
        ("Every number, name and date was filled in by code from the catalogue and the offer, and checked again.",),
        (),
        tuple(_samples(shop, turns[-1].plan)),
    )
    sections = [top, *newest, words, _quality(collected), *learned.sections]
    return Report("Tradewind on a simulated shop", utc(last.at), sections, simulated=True, meta=dict(last.meta) | {"rounds": len(turns)})


def _verdict(whole: Estimate | None, truth: float, *, currency: str) -> str:
    """The first sentence: what all plans earned together, how sure that is, and what is true."""
    from tradewind.measure.report import interval, number

    true = f"The simulation knows the truth: {number(truth, 'minor', currency=currency)}"
    if whole is None or whole.low is None or whole.high is None:
        return f"The holdouts were too small to tell what the plans earned. {true}."
    said = f"{number(whole.value, 'minor', currency=currency)} ({whole.level:.0%} interval: {interval(whole, currency=currency)})"
    place = "inside the interval" if whole.covers(truth) else "outside the interval, as happens to one interval in twenty"
    if whole.low > 0:
        return f"Together the plans earned an estimated {said}. {true}, {place}."
    if whole.high < 0:
        return f"Together the plans lost an estimated {said}. {true}, {place}."
    return f"We cannot tell yet whether the plans earned anything: the best guess is {said}, and zero is inside. {true}, {place}."


def _quality(collected: CollectReport) -> Section:
    bad = [check for check in collected.checks if check.level != "PASS"]
    read = (
        f"{collected.rows_in:,} rows read, {collected.rows_stored:,} stored, {collected.rows_quarantined:,} kept apart to be mended, "
        f"{collected.duplicates:,} duplicates. The simulation puts dirt into its export on purpose."
    )
    passed = f"{len(collected.checks) - len(bad)} more checks found nothing."
    return Section("What was collected", (read, passed), (), tuple(_checks(bad)))


def _checks(found: Sequence[Check]) -> list[dict[str, Any]]:
    order = {"FAIL": 0, "WARN": 1, "PASS": 2}
    found = sorted(found, key=lambda check: (order[check.level], -check.count))[:20]
    return [
        {
            "level": c.level,
            "check": c.name,
            "rows": c.count,
            "example": c.example if len(c.example) <= EXAMPLE else f"{c.example[:EXAMPLE]}...",
            "consequence": c.consequence,
        }
        for c in found
    ]


def _samples(shop: Shop, plan: Plan, *, each: int = 4) -> list[dict[str, Any]]:
    """A few messages in each language, spread over offers and channels."""
    from sqlalchemy import select

    from tradewind.engine.ledger import outbox

    with shop.home.ledger.read() as connection:
        texts = connection.execute(
            select(outbox.c.message).where(outbox.c.plan_id == plan.plan_id, outbox.c.message.is_not(None)).order_by(outbox.c.message_id)
        ).scalars().all()  # fmt: skip
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for text in texts:
        message = json.loads(text)
        parts = {name: message["parts"][name] for name in SHOWN if message["parts"].get(name)}
        kind = (message["locale"], message["channel"])
        chosen.setdefault(kind, {"language": message["locale"], "channel": message["channel"], "message": _readable(parts)})
        if len(chosen) >= 2 * each:
            break
    return [chosen[kind] for kind in sorted(chosen)]


def _readable(parts: dict[str, str]) -> str:
    return "\n".join(parts.values()).replace("{{unsubscribe_url}}", "[link to unsubscribe]")


def _write(folder: Path, report: Report, turns: list[Round]) -> dict[str, Any]:
    from tradewind.measure.report import to_html, to_json

    (folder / "report.html").write_text(to_html(report), encoding="utf-8")
    (folder / "report.json").write_text(to_json(report), encoding="utf-8")
    whole = together(turns)
    return {
        "simulated": True,
        "report": str(folder / "report.html"),
        "rounds": [
            {
                "plan_id": done.plan.plan_id,
                "messages": done.messages,
                "estimate": None if (total := _total(done)) is None else {"value": total.value, "low": total.low, "high": total.high},
                "truth": done.truth,
            }
            for done in turns
        ],
        "incremental_profit": None if whole is None else {"value": whole.value, "low": whole.low, "high": whole.high},
        "truth": sum(done.truth for done in turns),
        "currency": str(turns[0].plan.meta["currency"]),
    }
