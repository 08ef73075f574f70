"""A plan in words: its summary, its offers by name, and why actions were ruled out."""

from __future__ import annotations

import json
from collections import Counter

from tradewind.decide.eligibility import EXPLAIN
from tradewind.decide.plan import Plan
from tradewind.measure.report import number
from tradewind.types import NOTHING

QUIET = frozenset({"rank"})  # said of nearly everybody, and nobody's fault
SHOWN = 5  # reasons


def offer_name(plan: Plan, offer: str | None) -> str:
    """How people call an offer: its English title, else any title, with its id; the id alone without a title."""
    if offer in (None, NOTHING):
        return NOTHING
    titles = plan.meta.get("offers", {}).get(offer, {}).get("title") or {}
    title = titles.get("en") or next(iter(titles.values()), "")
    return f"{title} ({offer})" if title else str(offer)


def names(plan: Plan, locale: str) -> dict[str, str]:
    """The offers' English names and those of a language, for reports; offers without a title in it are left out."""
    told = {name: (offer.get("title") or {}).get(locale) for name, offer in plan.meta.get("offers", {}).items()}
    return {offer_name(plan, name): f"{title} ({name})" for name, title in told.items() if title}


def reasons(plan: Plan) -> list[tuple[str, int]]:
    """Why actions were ruled out, most frequent first, each with the number of customers whom it touched."""
    why: Counter[str] = Counter()
    for text in plan.table["suppressed"].to_pylist():
        why.update(set(json.loads(text).values()) if text else ())
    return [(EXPLAIN.get(code, code), count) for code, count in why.most_common() if code not in QUIET][:SHOWN]


def plan_text(plan: Plan) -> str:
    """The counts and the money of a plan, for a terminal."""
    found = plan.summary()
    currency = str(found["currency"])

    def cash(name: str) -> str:
        return number(float(found[name]), "minor", currency=currency)

    def listed(name: str) -> str:
        return ", ".join(f"{key} {count:,}" for key, count in sorted(found[name].items(), key=lambda pair: -pair[1])) or "nobody"

    lines = [
        f"Plan {found['plan_id']} as of {str(found['as_of'])[:16]}",
        f"  {found['customers']:,} customers: {found['treated']:,} get something, {found['holdout']:,} are held out to measure against",
        f"  offers: {listed('offers')}",
        f"  channels: {listed('channels')}",
        f"  expected: {cash('expected_value')} of margin for {cash('expected_cost')} of discounts and contacts",
        f"  budget {cash('budget')}, reserved {cash('reserved')}; price of the budget {found['price']:.3f}",
    ]
    if not found["treated"] and (why := reasons(plan)):
        lines.append(f"  nobody gets anything; ruled out, by customers: {'; '.join(f'{text} ({count:,})' for text, count in why)}")
    if found["overridden"]:
        lines.append(f"  {found['overridden']:,} decisions were changed to nothing, because the budget was used up")
    return "\n".join(lines)
