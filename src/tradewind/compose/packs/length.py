"""Lengths and encodings that a channel can carry, and the parts of a text message; table in ``limits.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tradewind.compose.base import BLOCK, PARTS, WARN, Pack, Verdict
from tradewind.compose.clean import width
from tradewind.compose.facts import Facts
from tradewind.compose.locales import data
from tradewind.compose.sms import segments


class Length(Pack):
    """Block what would be cut or refused; warn about what some clients cut."""

    name = "length"

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:  # noqa: ARG002
        """Return empty, over-long and over-split parts."""
        table, found = data("limits"), []
        for part in PARTS.get(channel, ()):
            text = parts.get(part, "")
            if not text.strip() and part != "link":
                found.append(Verdict("length.empty", part, (0, 0), "", BLOCK, f"{channel} needs the part {part}"))
            limits = table[channel].get(part, {})
            if 2 * len(text) <= min(limits.values(), default=0):
                continue  # no character is wider than two columns
            columns = width(text) if len(text) <= limits.get("block", 0) else len(text)
            for severity in (BLOCK, WARN):
                if columns > limits.get(severity, columns):
                    reason = f"{columns} columns; {severity} above {limits[severity]}"
                    found.append(Verdict("length.columns", part, (0, len(text)), "", severity, reason))
                    break
        if channel == "sms":
            found += _sms(parts.get("body", ""))
        return found


def _sms(text: str) -> list[Verdict]:
    cost, limits = segments(text), data("limits")["sms_segments"]
    for severity in (BLOCK, WARN):
        if cost.count > limits[severity]:
            reason = f"{cost.count} parts in {cost.encoding}; {severity} above {limits[severity]}"
            return [Verdict("length.segments", "body", (0, len(text)), "", severity, reason)]
    return []


PLUGIN = Length
