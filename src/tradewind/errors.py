"""Every error that Tradewind raises on purpose.

::

    TradewindError
    +-- InputError (ValueError)      what a user can fix: a wrong value, a wrong column, a wrong name
    |   +-- SchemaError              data whose columns or types do not fit
    |   +-- NotFound                 a name that does not exist (with "did you mean ...")
    |   +-- NotFitted                a model that was asked before it learned
    +-- StateError                   the shop is not in the state that the call needs (and what to run first)
    |   +-- Locked                   another process holds it; try again when that one ended
    +-- Transient                    may succeed when tried again (time-outs, 429, 5xx)
    +-- Terminal                     will not succeed when tried again (rejected address, bad credentials)

A message has up to three parts: what was wrong and what was got, what is allowed, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TradewindError(Exception):
    """Base of all deliberate errors; catch it to catch them all."""


class InputError(TradewindError, ValueError):
    """Something that the user can fix."""


class SchemaError(InputError):
    """Data whose columns or types do not fit the schema."""


class NotFound(InputError):
    """A name that does not exist."""


class NotFitted(InputError):
    """A model that was asked for an answer before it learned."""


class StateError(TradewindError):
    """The shop is not in the state that the call needs."""


class Locked(StateError):
    """Another process holds the resource."""


class Transient(TradewindError):
    """A failure that may pass: try again later."""


class Terminal(TradewindError):
    """A failure that will not pass by trying again."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` when a known name is close, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""


def unknown(what: str, name: str, known: Iterable[str]) -> NotFound:
    """Build the error for an unknown name: what it is, what exists, what was probably meant."""
    names = sorted(known)
    listed = ", ".join(names) if names else "none"
    return NotFound(f'There is no {what} "{name}".{did_you_mean(name, names)} Known: {listed}.')
