"""A plan's summary in words."""

from __future__ import annotations

from tradewind.decide.plan import Plan
from tradewind.measure.report import number


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
    if found["overridden"]:
        lines.append(f"  {found['overridden']:,} decisions were changed to nothing, because the budget was used up")
    return "\n".join(lines)
