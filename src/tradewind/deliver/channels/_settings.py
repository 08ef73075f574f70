"""``channels.toml`` in a shop's folder: how its channels are set up. Secrets are never in it, only the names of environment variables."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NAME = "channels.toml"
REQUIRED = object()
_KINDS: Mapping[type, str] = {
    str: "a text", bool: "true or false", int: "a whole number", float: "a number", list: "a list of texts", dict: "a table",
}  # fmt: skip


class Section:
    """One table of the file, read key by key; :meth:`end` refuses keys that nobody asked for."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self._values = values
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, kind: type, default: Any = REQUIRED) -> Any:
        """The value of ``key``, of this kind; raises InputError when it is of another kind, or missing without a default."""
        self._asked.add(key)
        if key not in self._values:
            if default is REQUIRED:
                raise InputError(f"{self.where} needs {key}: {_KINDS[kind]}. docs/channels.md shows a whole file.")
            return default
        value = self._values[key]
        fits = isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))
        if not fits or (kind is list and not all(isinstance(one, str) for one in value)):
            raise InputError(f"{self.where}: {key} must be {_KINDS[kind]}; got {value!r}.")
        return value

    def table(self, key: str) -> Section | None:
        """A table inside this one; None when it is missing."""
        values = self.get(key, dict, None)
        return None if values is None else Section(f"{self.where.removesuffix(']')}.{key}]", values)

    def end(self) -> None:
        """Raise InputError for the first key that is not known."""
        for key in self._values:
            if key not in self._asked:
                raise InputError(
                    f'{self.where} has an unknown key "{key}".{did_you_mean(key, self._asked)} Known: {", ".join(sorted(self._asked))}.'
                )


def section(home: Home, name: str) -> Section | None:
    """The table of a channel in the shop's file; None when there is none."""
    values = read(home.root / NAME)
    if name not in values:
        return None
    if not isinstance(values[name], dict):
        raise InputError(f"{NAME}: [{name}] must be a table.")
    return Section(f"{NAME}, [{name}]", values[name])


def needed(home: Home, name: str) -> Section:
    """The table of a channel that cannot do without one; raises InputError when it is missing."""
    found = section(home, name)
    if found is None:
        raise InputError(f"The channel {name} needs a table [{name}] in {home.root / NAME}. docs/channels.md shows one.")
    return found


def read(path: Path) -> dict[str, Any]:
    """The whole file; empty when there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}. Mend that line.") from error


def secret(environment: Mapping[str, str], name: str, *, where: str) -> str:
    """The value of an environment variable that holds a secret; raises InputError, without any value, when it is missing."""
    value = environment.get(name, "")
    if not value:
        raise InputError(f"{where} takes a secret from the environment variable {name}, which is not set. Set it, then start again.")
    if not value.isascii() or not value.isprintable():
        raise InputError(f"{where}: the environment variable {name} must hold printable ASCII characters only.")
    return value
