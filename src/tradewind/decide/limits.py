"""The limits of a plan as a person writes them: a TOML file, or a mapping of the same shape, checked and named before any work.

::

    budget = "2000 CNY"            # or on the command line, not both

    [channels]                     # messages a day (UTC)
    sms = 200

    [offers]                       # money that discounts and contacts of an offer may cost
    spring10 = "500 CNY"

    [stock]                        # pieces of an item to promise at most
    SKU1 = 10

    [exposure]                     # of those who get something, at least this share is of the group
    column = "stage"
    floors = { new = 0.2 }

    [contact]                      # rules for every customer: the fields of ``Limits``
    messages_30d = 4

    [blocked]                      # who gets nothing that is worth money
    customers = ["customer-7"]

    [promotion]                    # against abuse of coupons: the fields of ``Promotion``; without this table nothing is guarded
    ring_coupons = 1
    cooling_days = 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tradewind.decide.promotion_guard import Promotion
from tradewind.decide.request import Caps, Exposure, Limits
from tradewind.errors import InputError, did_you_mean
from tradewind.types import money

_PARTS = ("budget", "channels", "offers", "stock", "exposure", "contact", "blocked", "promotion")


@dataclass(frozen=True)
class Asked:
    """What was asked; ``budget`` is None where the file does not say."""

    budget: str | None = None
    caps: Caps = field(default_factory=Caps)
    exposure: Exposure | None = None
    limits: Limits = field(default_factory=Limits)
    blocked: frozenset[str] = frozenset()
    promotion: Promotion | None = None


def read_limits(source: str | Path | Mapping[str, Any] | None, *, currency: str) -> tuple[Asked, dict[str, Any]]:
    """The limits of a file or mapping, and the same as plain values.

    Raises
    ------
    InputError
        The file is not there or no TOML, a name is not known, or a value has another type than it needs.
    """
    told = _plain(source)
    for name in told:
        _known("limits", name, _PARTS)
    tables = {name: _table(told, name) for name in _PARTS[1:]}
    for name, most in tables["offers"].items():
        if not isinstance(most, str) or (got := money(most, what=f"limits: offers.{name}"))[1] != currency:
            raise InputError(f'limits: offers.{name} must be money in {currency}, for example "500 {currency}"; got {most!r}.')
        tables["offers"][name] = got[0]
    for name in tables["contact"]:
        _known("limits: [contact]", name, [one.name for one in fields(Limits)])
    limits = Limits(**tables["contact"])
    limits.check()
    budget = told.get("budget")
    if budget is not None and not isinstance(budget, str):
        raise InputError(f'limits: budget must be a text such as "2000 {currency}"; got {budget!r}.')
    caps = Caps(tables["channels"], tables["offers"], tables["stock"])
    caps.check(budget=1)
    promotion = _promotion(tables["promotion"]) if "promotion" in told else None
    return Asked(budget, caps, _exposure(tables["exposure"]), limits, _blocked(tables["blocked"]), promotion), told


def one_budget(argument: str, asked: Asked) -> str:
    """The budget of the command or of the file; raises InputError when both say something else."""
    given = argument.strip() not in ("", "0")
    if given and asked.budget is not None and asked.budget.split() != argument.split():
        raise InputError(f'limits: the file says budget = "{asked.budget}", the command "{argument}". Leave one of them out.')
    return argument if given or asked.budget is None else asked.budget


def _plain(source: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    if not isinstance(source, str | Path):
        raise InputError(f"limits: give a TOML file or a mapping; got {type(source).__name__}.")
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"limits: cannot read {source}: {error.strerror}. Give a TOML file; docs/decide.md shows one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"limits: {source} is no TOML: {error}. docs/decide.md shows an example.") from error


def _table(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name, {})
    if not isinstance(found, Mapping):
        raise InputError(f"limits: [{name}] must be a table of names and values; got {found!r}.")
    return dict(found)


def _known(owner: str, name: str, allowed: tuple[str, ...] | list[str]) -> None:
    if name not in allowed:
        raise InputError(f'{owner} has no "{name}".{did_you_mean(name, allowed)} Known: {", ".join(allowed)}.')


def _exposure(told: Mapping[str, Any]) -> Exposure | None:
    if not told:
        return None
    for name in told:
        _known("limits: [exposure]", name, ["column", "floors"])
    column, floors = told.get("column"), told.get("floors")
    if not isinstance(column, str) or not isinstance(floors, Mapping) or not floors:
        raise InputError('limits: [exposure] needs a column and floors, for example column = "stage" and floors = { new = 0.2 }.')
    found = Exposure(column, dict(floors))
    found.check()
    return found


def _blocked(told: Mapping[str, Any]) -> frozenset[str]:
    for name in told:
        _known("limits: [blocked]", name, ["customers"])
    people = told.get("customers", [])
    if not isinstance(people, list) or not all(isinstance(one, str) for one in people):
        raise InputError('limits: blocked.customers must be a list of texts, for example ["customer-7"].')
    return frozenset(people)


def _promotion(told: Mapping[str, Any]) -> Promotion:
    for name in told:
        _known("limits: [promotion]", name, [one.name for one in fields(Promotion)])
    found = Promotion(**told)
    found.check()
    return found
