"""Visits of tracked links: measurement, never consent."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tradewind.deliver import feedback_clicks
from tradewind.deliver.links import Link

if TYPE_CHECKING:
    from tradewind.engine.home import Home

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # a transparent GIF
EVERY = timedelta(minutes=1)  # how often visits are settled while there are any


class Visits:
    """Keeps visits until it is known who came (docs/channels.md), and enters them into the event log then."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._settled: datetime | None = None

    def note(self, link: Link, *, method: str, headers: Mapping[str, str], at: datetime) -> None:
        """Keep one visit of a verified link; a link that has ended says nothing."""
        request = feedback_clicks.Request(method, headers.get("user-agent", ""), headers)
        feedback_clicks.take(self._home, link, request, now=at)
        if self._settled is None or at - self._settled >= EVERY:
            self._settled = at
            feedback_clicks.settle(self._home, now=at)
