"""Find the one-file plugins of a room by the names that users type, without importing any of them first.

``learn/transformer.py`` is the model "transformer": the file declares it by one class or function named in
``PLUGIN``. Third parties ship the same file under the entry point group ``tradewind.<room>``.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from tradewind.errors import TradewindError, unknown


@cache
def names(room: str) -> dict[str, str]:
    """Map plugin names to module paths for a room such as ``"learn"`` or ``"deliver.channels"``.

    A module belongs when its source assigns ``PLUGIN``; helpers beside the plugins do not.
    """
    package = importlib.import_module(f"tradewind.{room}")
    found = {
        info.name: f"{package.__name__}.{info.name}"
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_") and _declares(package, info.name)
    }
    for point in entry_points(group=f"tradewind.{room}"):
        if point.name in found:
            raise TradewindError(
                f'Two plugins are named "{point.name}" in {room}: {found[point.name]} and {point.value}. Uninstall one or rename it.'
            )
        found[point.name] = point.value
    return dict(sorted(found.items()))


def load(room: str, name: str, *, what: str = "plugin") -> Any:
    """Import the plugin ``name`` of ``room`` and return what its ``PLUGIN`` holds.

    Raises
    ------
    NotFound
        There is no plugin of that name; the message lists those that exist.
    """
    known = names(room)
    if name not in known:
        raise unknown(what, name, known)
    return importlib.import_module(known[name].partition(":")[0]).PLUGIN


def _declares(package: ModuleType, name: str) -> bool:
    spec = importlib.util.find_spec(f"{package.__name__}.{name}")
    if spec is None or not spec.origin or not spec.has_location:
        return False
    source = Path(spec.origin).read_text(encoding="utf-8")
    return any(line.startswith(("PLUGIN =", "PLUGIN:")) for line in source.splitlines())
