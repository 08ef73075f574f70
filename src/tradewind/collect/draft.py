"""Drafting a mapping from the data: what each column probably is, every assumption said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tradewind.collect.mapping import MappingFile


def draft_mapping(path: str | Path) -> tuple[str, list[str]]:
    raise NotImplementedError


def implied(path: Path) -> MappingFile:
    raise NotImplementedError
