"""`tradewind risk`: rules, verdicts, backtests, whom we trust, reviews (docs/risk.md)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tradewind.commands.base import AsOf, Json, ShopUrl, marked, opened_shop, say
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.learn._risk_rule_backtest import Backtest
    from tradewind.learn._risk_rule_books import Check
    from tradewind.learn.risk_desk import Standing
    from tradewind.types import Estimate

app = typer.Typer(no_args_is_help=True, help="Orders and claims that look wrong: rules, verdicts, backtests, reviews (docs/risk.md).")

By = Annotated[str, typer.Option("--by", envvar="TRADEWIND_BY", help="Who acts; it goes into the audit log.", metavar="NAME")]
Rule = Annotated[str, typer.Argument(help="The rule's name in risk.toml.")]
Locale = Annotated[str, typer.Option("--locale", help="Of the reasons: en or zh-CN.")]


@app.command()
def rules(
    shop: ShopUrl = ".",
    fields: Annotated[bool, typer.Option("--fields", help="Instead: what a rule may look at.")] = False,
    starter: Annotated[bool, typer.Option("--starter", help="Instead: rules to begin with, for risk.toml.")] = False,
    as_json: Json = False,
) -> None:
    """Read risk.toml and say of every rule whether it acts, and why not."""
    if fields:
        from tradewind.learn._risk_rule_history import FIELDS

        say({"fields": dict(FIELDS)}, "\n".join(f"{kind:<6}  {name}" for name, kind in FIELDS.items()), as_json=as_json)
        return
    if starter:
        from tradewind.learn.risk_rules import STARTER

        text = STARTER.read_text(encoding="utf-8")
        say({"text": text}, text, as_json=as_json)
        return
    with opened_shop(shop) as opened:
        found = opened.risk.rules()
    lines = [_standing(each) for each in found] or ["There is no rule yet: write risk.toml in the shop's folder (docs/risk.md)."]
    say({"rules": [_rule_json(each) for each in found]}, "\n".join(lines), as_json=as_json)


@app.command()
def check(
    moment: Annotated[str | None, typer.Argument(help="The id of an order or a claim that was collected.")] = None,
    shop: ShopUrl = ".",
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help="Instead: what is known of it, amount=9000; repeatable.", metavar="NAME=VALUE")
    ] = None,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """Decide about an order or a claim, write the verdict down, and queue a review."""
    if (moment is None) is (feature is None):
        raise InputError("Give the id of an order or claim that was collected, or its features: --feature amount=9000.")
    with opened_shop(shop) as opened:
        found = opened.risk.check(moment) if moment is not None else opened.risk.check(_features(feature or []))
    lines = [f"{found.verdict}" + (f", the {found.trusted} is trusted" if found.trusted else "") + f"  ({found.check_id})"]
    lines += [f"  {one.rule} ({one.verdict}): {one.zh if locale.startswith('zh') else one.en} {_values(one.values)}" for one in found.fired]
    lines += [f"  watched only, {one.rule} ({one.verdict}) {_values(one.values)}" for one in found.shadow]
    lines += [f'  "{name}" is meant to act and does not: see tradewind risk rules' for name in found.held]
    say(asdict(found), "\n".join(lines), as_json=as_json)


@app.command()
def backtest(
    names: Annotated[list[str] | None, typer.Argument(help="Rules; all when left out.")] = None,
    shop: ShopUrl = ".",
    days: Annotated[float, typer.Option("--days", help="Orders and claims of so many days before --as-of.")] = 90,
    delay: Annotated[int, typer.Option("--delay", help="Days until an order of which nothing bad is known counts as good.")] = 30,
    as_of: AsOf = None,
    by: By = "operator",
    as_json: Json = False,
) -> None:
    """Say what rules would have done in the past, and note it: without that a rule cannot be activated."""
    with opened_shop(shop) as opened:
        found = opened.risk.backtest(names or (), days=days, delay_days=delay, as_of=as_of, by=f"person:{by}")
        simulated, currency = opened.home.settings.simulated, opened.home.settings.currency
    text = "\n".join(line for one in found for line in _backtest(one, currency))
    say(
        {"simulated": simulated, "rules": [one.figures() for one in found]},
        marked(text, simulated=simulated),
        as_json=as_json,
    )


@app.command()
def activate(name: Rule, by: By, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Let a rule act as it now reads; it must have been backtested like that, and its file must say acting."""
    with opened_shop(shop) as opened:
        rule = opened.risk.activate(name, by=f"person:{by}")
    say({"rule": rule.name, "digest": rule.digest, "acting": True}, f'"{name}" acts: {rule.text}', as_json=as_json)


@app.command()
def shadow(name: Rule, by: By, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Let a rule only watch from now on, whatever its file says."""
    with opened_shop(shop) as opened:
        acted = opened.risk.shadow(name, by=f"person:{by}")
    say({"rule": name, "acted": acted}, f'"{name}" {"only watches now" if acted else "did not act"}.', as_json=as_json)


@app.command()
def allow(
    kind: Annotated[str | None, typer.Argument(help="customer, device or address; without it the whitelist is shown.")] = None,
    subject: Annotated[str | None, typer.Argument(help="Its key in the events.")] = None,
    shop: ShopUrl = ".",
    why: Annotated[str, typer.Option("--why", help="Why it may pass.")] = "",
    days: Annotated[float, typer.Option("--days", help="For how long.")] = 90,
    end: Annotated[bool, typer.Option("--end", help="Take it off the whitelist.")] = False,
    by: By = "operator",
    as_json: Json = False,
) -> None:
    """Let a customer, device or address pass every rule for some days, or see who may."""
    with opened_shop(shop) as opened:
        if kind is not None and subject is None:
            raise InputError(f"Which {kind}? Give its key in the events, or nothing to see the whitelist.")
        if kind is not None and subject is not None:
            if end:
                opened.risk.disallow(kind, subject, by=f"person:{by}")
            else:
                opened.risk.allow(kind, subject, by=f"person:{by}", why=why, days=days)
        found = opened.risk.whitelist()
    lines = [f"{one.kind:<8}  {one.subject}  until {one.expires_at:%Y-%m-%d %H:%M}, {one.by}: {one.why}" for one in found]
    say({"whitelist": [asdict(one) for one in found]}, "\n".join(lines) or "Nobody is on the whitelist.", as_json=as_json)


@app.command()
def queue(
    shop: ShopUrl = ".",
    state: Annotated[str, typer.Option("--state", help="open, approved or rejected.")] = "open",
    limit: Annotated[int, typer.Option("--limit", help="How many.", min=1)] = 50,
    locale: Locale = "en",
    as_json: Json = False,
) -> None:
    """List the reviews that wait, oldest first."""
    with opened_shop(shop) as opened:
        found = opened.risk.queue(state=state, limit=limit)
        currency = opened.home.settings.currency
    lines = [_waiting(one, locale, currency) for one in found] or [f"No review is {state}."]
    say({"state": state, "reviews": [asdict(one) for one in found]}, "\n".join(lines), as_json=as_json)


@app.command()
def settle(
    check_id: Annotated[str, typer.Argument(help="The id that check and queue show.")],
    decision: Annotated[str, typer.Argument(help="approve or reject.")],
    by: By,
    shop: ShopUrl = ".",
    note: Annotated[str, typer.Option("--note", help="What was found.")] = "",
    as_json: Json = False,
) -> None:
    """Decide a review, once. A rejected order counts as fraud in backtests and in learning."""
    with opened_shop(shop) as opened:
        found = opened.risk.settle(check_id, decision, by=f"person:{by}", note=note)
    say(asdict(found), f"{found.state}: {found.moment or check_id}", as_json=as_json)


@app.command()
def label(
    path: Annotated[Path, typer.Argument(help="CSV with the columns id (of an order or claim) and known_at (ISO 8601, with a zone).")],
    shop: ShopUrl = ".",
    by: By = "operator",
    as_json: Json = False,
) -> None:
    """Note frauds that came out, such as chargebacks: backtests and learning count them from when they were known."""
    with opened_shop(shop) as opened:
        count = opened.risk.label(list(_known(path)), by=f"person:{by}")
    say({"labels": count}, f"{count:,} frauds noted.", as_json=as_json)


def _features(given: Sequence[str]) -> dict[str, Any]:
    from tradewind.learn._risk_rule_history import FIELDS

    found: dict[str, Any] = {}
    for each in given:
        name, mark, value = each.partition("=")
        if not mark:
            raise InputError(f'--feature {each}: write NAME=VALUE, for example "amount=9000".')
        found[name] = _value(name, FIELDS.get(name, "text"), value)
    return found


def _value(name: str, kind: str, text: str) -> float | str | bool:
    if kind == "text":
        return text
    if kind == "flag" and text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        wanted = "true or false" if kind == "flag" else "a number"
        raise InputError(f"--feature {name}: {wanted} is needed; got {text!r}.") from None


@app.command()
def score(
    shop: ShopUrl = ".",
    delay: Annotated[int, typer.Option("--delay", help="Days until an order of which nothing bad is known counts as good.")] = 30,
    go_on: Annotated[bool, typer.Option("--go-on", help="Add to what was learned before, instead of learning anew.")] = False,
    most: Annotated[int, typer.Option("--most", help="How many of the riskiest to list.", min=0)] = 20,
    locale: Locale = "en",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Learn the risk score that rules may look at, and list the riskiest orders and claims whose truth is not known yet."""
    with opened_shop(shop) as opened:
        found = opened.risk.score(delay_days=delay, go_on=go_on, most=most, as_of=as_of)
        currency = opened.home.settings.currency
    lines = [f"Learned {found.way} from {found.rows:,} orders and claims, {found.frauds:,} known to be fraud."]
    lines += [found.why] if found.why else []
    for one in found.riskiest:
        why = "; ".join(one.reasons_zh if locale.startswith("zh") else one.reasons)
        amount = _money(one.amount, currency)
        lines.append(f"{one.score:5.1f}  {one.at:%Y-%m-%d %H:%M}  {one.action}  {one.id}  {one.customer or '-'}  {amount}  {why}")
    say(asdict(found), "\n".join(lines), as_json=as_json)


@app.command()
def rings(shop: ShopUrl = ".", as_of: AsOf = None, as_json: Json = False) -> None:
    """Find accounts that share and act as one, with the evidence; policies with a table [promotion] then cap what a ring gets."""
    with opened_shop(shop) as opened:
        found, currency = opened.risk.rings(as_of=as_of), opened.home.settings.currency
    lines = [f"{len(found):,} rings with {sum(len(one.customers) for one in found):,} accounts."]
    for one in found:
        lines.append(f"{one.ring}  score {one.score:.1f}, {_money(one.discount, currency)} of discounts: {', '.join(one.customers[:8])}")
        lines += [f"  {told}" for told in one.words()]
    say({"rings": [asdict(one) for one in found]}, "\n".join(lines), as_json=as_json)


@app.command()
def machines(shop: ShopUrl = ".", as_of: AsOf = None, as_json: Json = False) -> None:
    """Find views and clicks that no person made; from then on nothing learns from those customers."""
    with opened_shop(shop) as opened:
        found = opened.risk.machines(as_of=as_of)
    lines = [f"{len(found.customers):,} customers are machines, and {len(found.clicks):,} clicks are no person's."]
    lines += [f"  {name}: {rule}" for name, rule in sorted(found.visitors.items())[:50]]
    say(asdict(found), "\n".join(lines), as_json=as_json)


@app.command()
def coupon(
    customer: Annotated[str, typer.Argument(help="Who wants it.")],
    offer: Annotated[str, typer.Argument(help="The coupon's offer.")],
    shop: ShopUrl = ".",
    use: Annotated[bool, typer.Option("--use", help="It is about to be used, not claimed.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="From which it is asked, as in the events.")] = None,
    cap: Annotated[int, typer.Option("--ring-coupons", help="Coupons for a ring in thirty days.", min=0)] = 1,
    cooling: Annotated[float, typer.Option("--cooling-days", help="How old an account must be.", min=0)] = 1.0,
    as_json: Json = False,
) -> None:
    """Say whether a coupon may be claimed, or used, and why not."""
    from tradewind.decide.eligibility import EXPLAIN
    from tradewind.decide.promotion_guard import Guard, Promotion

    with opened_shop(shop) as opened:
        now = opened.now()
        guard = Guard.of(opened.home, Promotion(ring_coupons=cap, cooling_days=cooling), as_of=now)
        told = (guard.redeem if use else guard.claim)(customer, offer, at=now, device=device)
    code, details = told.reason.code, dict(told.reason.details)
    text = f"{'yes' if told.allow else 'no'}: {EXPLAIN[code]}{f' {details}' if details else ''}"
    say({"allow": told.allow, "code": code, "details": details}, text, as_json=as_json)


def _known(path: Path) -> Iterator[tuple[str, datetime]]:
    from tradewind.types import utc

    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            for number, row in enumerate(csv.DictReader(handle), 2):
                if not row.get("id") or not row.get("known_at"):
                    raise InputError(f"{path}, line {number}: needs the columns id and known_at; got {row}.")
                yield row["id"], utc(row["known_at"], what=f"{path}, line {number}: known_at")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}. Give a CSV file in UTF-8 with a heading.") from error


def _rule_json(each: Standing) -> dict[str, Any]:
    rule = each.rule
    told = {name: getattr(rule, name) for name in ("name", "verdict", "text", "zh", "en", "owner", "mode", "digest", "fields")}
    return {**told, "acting": each.acting, "why": each.why, "backtest": each.backtest}


def _standing(each: Standing) -> str:
    state = "acts   " if each.acting else "watches"
    why = f"  ({each.why})" if each.why else ""
    return f"{state}  {each.rule.name}: {each.rule.text}  [{each.rule.owner}]{why}"


def _backtest(one: Backtest, currency: str | None) -> list[str]:
    lines = [f"{one.rule}: {one.verdict} {one.fired:,} of {one.rows:,} ({one.fire_rate:.2%})"]
    lines += [f"  precision {_share(one.precision)} of {one.judged:,} whose truth is known, recall {_share(one.recall)}"]
    share = "" if one.money_share != one.money_share else f" ({one.money_share:.1%} of all known fraud)"
    lines += [f"  money caught {_money(one.money_caught, currency)}{share}; of good orders {_money(one.money_good, currency)}"]
    lines += [f"  newly treated so: {one.newly:,} people, {one.newly_good:,} of them known to be good"]
    most = sorted(one.overlap.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    return lines + ([f"  fires together with {', '.join(f'{name} {share:.0%}' for name, share in most)}"] if most else [])


def _share(found: Estimate) -> str:
    return "unknown" if found.value != found.value else f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _waiting(one: Check, locale: str, currency: str | None) -> str:
    amount = "" if one.amount is None else f"  {_money(one.amount, currency)}"
    done = f"  {one.state} by {one.by}: {one.note}" if one.by else ""
    why = "; ".join(one.reasons(locale))
    return f"{one.check_id}  {one.at:%Y-%m-%d %H:%M}  {one.moment or '-'}  {one.customer or '-'}{amount}  {why}{done}"


def _money(amount: int, currency: str | None) -> str:
    from tradewind.measure.report import number

    return number(float(amount), "minor", currency=currency or "")


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {'not known' if value is None else value}" for name, value in values.items())
