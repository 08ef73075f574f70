"""The same row more than once, and the same key with different content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tradewind.collect.rules.base import QualityRule
from tradewind.params import OneOf, Rule


class ExactDuplicates(QualityRule):
    """``copies``: "collapse" keeps the first; "keep" stores each under its own id, for sources without ids where equal rows are real.

    ``conflicts`` (one key, several contents): events after the first are quarantined, of other tables the last row wins.
    The work is done in ``pipeline.py``, because it decides what every other count is made of.
    """

    name: ClassVar[str] = "exact_duplicates"
    defaults: ClassVar[Mapping[str, Any]] = {"copies": "collapse"}
    options: ClassVar[Mapping[str, Rule]] = {"copies": OneOf(("collapse", "keep"))}


PLUGIN = ExactDuplicates
