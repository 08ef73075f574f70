"""Visits of tracked links: measurement, never consent."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING

from tradewind.deliver.links import Link
from tradewind.schema import Kind
from tradewind.types import Event, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # a transparent GIF
_KINDS = {"click": Kind.CLICK, "open": Kind.OPEN}


def note(home: Home, link: Link, *, at: datetime) -> None:
    """Enter a visit into the event log, once per link; a link that has ended leads on and says nothing."""
    if link.until and micros(at) >= link.until:
        return
    key = json.dumps([link.purpose, link.decision_id, link.customer, link.channel, link.url])
    event = Event(
        f"{link.purpose}-{hashlib.sha256(key.encode()).hexdigest()[:32]}", at, _KINDS[link.purpose].value, "link",
        customer=link.customer, channel=link.channel, decision_id=link.decision_id,
    )  # fmt: skip
    home.log.append([event], now=at)
