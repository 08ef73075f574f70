"""Refuses to build a wheel without the web console: a package whose console is missing would look whole until somebody opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WithConsole(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling names it
        """Look for the built pages; an editable install reads them from the clone later."""
        index = Path(self.root) / "src" / "tradewind" / "serve" / "console_build" / "index.html"
        if version != "editable" and not index.is_file():
            raise FileNotFoundError(f"The web console is not built ({index} is missing). Run: make console")
