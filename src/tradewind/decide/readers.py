"""One trace, three readers: the customer, the marketer and the auditor, in English and Chinese.

Sentences come from ``readers.toml``; every number and every name in them is a logged value of the decision, written out. What a
customer reads leaves out what the decision was worth; what an auditor reads leaves out nothing.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tradewind.errors import InputError, unknown
from tradewind.types import NO_MINOR, NOTHING

if TYPE_CHECKING:
    from tradewind.decide.explain import Candidate, Explanation

READERS = ("customer", "marketer", "auditor")
LOCALES = ("en", "zh-CN")
_LISTED = 5  # names per reason before the rest is a count
_UNSAID = frozenset({"rank", "ok"})  # to the customer: what was merely less promising


@cache
def words(locale: str) -> Mapping[str, Any]:
    """The sentences of a language; raises NotFound for one that has none."""
    if locale not in LOCALES:
        raise unknown("language of explanations", locale, LOCALES)
    return dict(tomllib.loads(files("tradewind.decide").joinpath("readers.toml").read_text(encoding="utf-8"))[locale])


def text(told: Explanation, *, reader: str, locale: str = "en") -> str:
    """The decision for ``reader`` (one of ``READERS``) in ``locale`` (one of ``LOCALES``), one sentence a line.

    Raises
    ------
    NotFound
        There is no such reader or language.
    """
    if reader not in READERS:
        raise unknown("reader", reader, READERS)
    say = words(locale)
    lines = {"customer": _customer, "marketer": _marketer, "auditor": _auditor}[reader](told, say, locale)
    return "\n".join(lines)


def _customer(told: Explanation, say: Mapping[str, Any], locale: str) -> Iterator[str]:
    mine = say["customer"]
    yield _verdict(told, say, mine, locale)
    if _got(told):
        reasons = {reason["code"]: reason.get("details", {}) for reason in _chosen(told).reasons}
        item = told.action.split("|")[1]
        if "recommended" in reasons:
            yield mine["recommended"].format(item=item, **reasons["recommended"])
        elif "popular" in reasons:
            yield mine["popular"].format(item=item)
        elif "basket" in reasons:
            yield mine["whole"]
    if told.variant != "holdout" and told.mode != "override" and len(told.candidates) > 1:
        yield mine["chance"].format(count=len(told.candidates))
    yield from _suppressed(told, say, mine, unsaid=_UNSAID)
    yield mine["rights"]


def _marketer(told: Explanation, say: Mapping[str, Any], locale: str) -> Iterator[str]:
    mine = say["marketer"]
    yield _verdict(told, say, mine, locale)
    one = _chosen(told)
    if one.action != NOTHING:
        value, sd, cost = (_money(each, told.currency, say) for each in (one.value, one.sd, one.cost))
        yield mine["worth"].format(value=value, sd=sd, cost=cost)
        for reason in one.reasons:
            yield from _reason(one.action, reason, mine)
    others = [each for each in told.candidates if each is not one]
    if others:
        best = max(others, key=lambda each: each.score)
        named = _name(best.action, say)
        yield mine["next"].format(action=named, score=f"{best.score:z.1f}", chance=f"{best.propensity:.1%}")
    yield mine["price"].format(price=f"{told.price:.3f}")
    yield from _suppressed(told, say, mine)


def _auditor(told: Explanation, say: Mapping[str, Any], _: str) -> Iterator[str]:
    mine = say["auditor"]
    values = {**vars(told), "at": f"{told.at:%Y-%m-%d %H:%M:%S}", "propensity": f"{told.propensity:.6f}"}
    yield mine["head"].format(**values)
    yield mine["made"].format(**values)
    yield mine["variant"].format(**values)
    for one in told.candidates:
        numbers = {name: f"{getattr(one, name):z.6f}" for name in ("propensity", "value", "sd", "cost", "score")}
        yield mine["candidate"].format(mark=">" if one.action == told.action else "-", action=one.action, currency=told.currency, **numbers)
    total = sum(one.propensity for one in told.candidates)
    same = mine["equal" if told.recomputed else "unequal"]
    yield mine["sum"].format(count=len(told.candidates), sum=f"{total:.6f}", recomputed=same)
    yield from _suppressed(told, say, mine)


def _verdict(told: Explanation, say: Mapping[str, Any], mine: Mapping[str, str], locale: str) -> str:
    chance = f"{told.propensity:.1%}"
    if told.mode == "override":
        from tradewind.decide.explain import FULL

        code = next((code for code in told.suppressed.values() if code in FULL), None)
        if code is None:
            raise InputError(f"Decision {told.decision_id} was changed to nothing, but its log does not say why.")
        return mine["override"].format(why=say["why"][code])
    if told.variant == "holdout":
        return mine["holdout"].format(action=_name(told.action, say), chance=chance)
    if told.action == NOTHING:
        return mine["nothing"].format(chance=chance)
    offer, item, channel = told.action.split("|")
    assert told.send_at is not None
    return mine["chosen"].format(
        action=told.action,
        offer=title(told, offer, locale),
        what=item or say["basket"],
        channel=channel,
        send_at=f"{told.send_at:%Y-%m-%d %H:%M}",
        chance=chance,
    )


def title(told: Explanation, offer: str, locale: str) -> str:
    """How the plan calls an offer in a language; its id where the plan has no title in that language."""
    known = told.titles.get(offer, {})
    return known.get(locale) or offer


def _got(told: Explanation) -> bool:
    return told.variant != "holdout" and told.mode != "override" and told.action != NOTHING


def _chosen(told: Explanation) -> Candidate:
    return next(one for one in told.candidates if one.action == told.action)


def _name(action: str, say: Mapping[str, Any]) -> str:
    return str(say["nothing"]) if action == NOTHING else action


def _money(minor: float, currency: str, say: Mapping[str, Any]) -> str:
    amount = f"{minor:z,.0f}" if currency in NO_MINOR else f"{minor / 100:z,.2f}"
    return str(say["money"].format(amount=amount, currency=currency))


def _reason(action: str, reason: Mapping[str, Any], mine: Mapping[str, str]) -> Iterator[str]:
    code, details = reason["code"], reason.get("details", {})
    if code == "offer":
        terms = "".join(f", {name} {value}" for name, value in details.items() if name != "kind")
        yield mine["offer"].format(action=action, kind=details["kind"], terms=terms)
    elif code in mine:
        yield mine[code].format(action=action, **details)
    elif code != NOTHING:  # a recommender's own reason: its code and its values as they were logged
        yield f"{action}: {json.dumps({**reason}, ensure_ascii=False)}"


def _suppressed(
    told: Explanation, say: Mapping[str, Any], mine: Mapping[str, str], *, unsaid: frozenset[str] = frozenset()
) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for name, code in told.suppressed.items():
        groups.setdefault(code, []).append(name)
    for code, names in groups.items():
        if code not in unsaid:
            more = f" +{len(names) - _LISTED:,}" if len(names) > _LISTED and "{code}" not in mine["suppressed"] else ""
            listed = names[:_LISTED] if more else names
            yield mine["suppressed"].format(names=say["list"].join(listed) + more, why=say["why"].get(code, code), code=code)
