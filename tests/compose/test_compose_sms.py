"""Parts of a text message: the limits of 3GPP TS 23.038 and 23.040."""

from __future__ import annotations

import pytest

from tradewind.compose.sms import segments

CASES = [
    ("", "GSM-7", 0, 1),
    ("a" * 160, "GSM-7", 160, 1),
    ("a" * 161, "GSM-7", 161, 2),
    ("a" * 306, "GSM-7", 306, 2),
    ("a" * 307, "GSM-7", 307, 3),
    ("\u20ac" * 80, "GSM-7", 160, 1),
    ("\u20ac" * 81, "GSM-7", 162, 2),
    ("a" * 152 + "\u20ac" + "b" * 152, "GSM-7", 306, 3),  # the euro sign would straddle two parts, so a septet is lost
    ("\u4e2d" * 70, "UCS-2", 70, 1),
    ("\u4e2d" * 71, "UCS-2", 71, 2),
    ("\u4e2d" * 135, "UCS-2", 135, 3),
    ("Hello \u201cyou\u201d", "UCS-2", 11, 1),
    ("\U0001f389" * 35, "UCS-2", 70, 1),
    ("\U0001f389" * 36, "UCS-2", 72, 2),
]


@pytest.mark.parametrize(("text", "encoding", "units", "count"), CASES)
def test_segments(text: str, encoding: str, units: int, count: int) -> None:
    found = segments(text)
    assert (found.encoding, found.units, found.count) == (encoding, units, count)
