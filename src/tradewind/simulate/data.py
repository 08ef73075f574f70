"""The words of the synthetic shop, in Chinese and English: attribute grammars kept as JSON beside this file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data"


@cache
def words(name: str) -> Any:
    """Return the data file ``name`` ("catalogue" or "words"); treat it as read-only, it is shared."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
