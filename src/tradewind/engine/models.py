"""Where a shop's language models are: the tables ``[chat]`` and ``[local]`` of ``tradewind.toml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Self
from urllib.parse import urlsplit

from tradewind.errors import InputError, did_you_mean
from tradewind.params import Number, OneOf, check

NANO = 10**9  # what model ledgers count in: billionths of the currency
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RULES: Mapping[str, Number | OneOf] = {
    "mode": OneOf(("write", "choose")),
    "by": OneOf(("category", "item")),
    "candidates": Number(1, 16, whole=True),
    "seconds": Number(0.05, 600),
    "run_seconds": Number(0, 86_400),
    "max_tokens": Number(16, 32_768, whole=True),
    "device": OneOf(("auto", "cpu", "cuda")),
}


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A server that speaks the OpenAI wire format. Prices are per million tokens; without them only tokens are counted."""

    url: str  # its base: https://models.example/v1
    model: str
    key_env: str | None = None  # the environment variable that holds the key; the key itself is never stored
    mode: str = "write"  # "choose": among the approved components only
    by: str = "category"  # "item": questions name the item too, and there are more of them
    candidates: int = 4  # per question
    seconds: float = 30.0  # per question, the second try included
    run_seconds: float = 600.0  # per run of compose: after it nothing more is asked
    max_tokens: int = 1500  # of an answer
    unseen: bool = False  # whether sentences that nobody approved may be sent
    input_price: str | None = None  # "0.15 USD"
    output_price: str | None = None
    monthly_budget: str | None = None  # "20 USD": a hard limit per calendar month, UTC

    def checked(self) -> Self:
        """Return itself when every value is allowed; raises InputError that says what is."""
        _check(self, "chat")
        parts = urlsplit(self.url) if isinstance(self.url, str) else urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise InputError(f'Setting "chat.url" must be a base address such as "https://models.example/v1"; got {self.url!r}.')
        if self.key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(self.key_env)):
            raise InputError(
                f'Setting "chat.key_env" is the name of an environment variable, not the key itself; got {self.key_env!r:.12}.'
            )
        if self.key_env and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise InputError(
                f'Setting "chat.url": a key would travel unencrypted to {parts.hostname}. Use https, or a server on this machine.'
            )
        told = [self.input_price, self.output_price, self.monthly_budget]
        if any(told) and not all(told):
            raise InputError('Settings "chat": give input_price, output_price and monthly_budget together, or none of them.')
        self.money()
        return self

    def money(self) -> tuple[str, int, int, int] | None:
        """Currency, price of a token read and written, and the month's limit, in billionths; None without prices."""
        if self.input_price is None or self.output_price is None or self.monthly_budget is None:
            return None
        (a, one), (b, two), (c, three) = (_amount(getattr(self, n), n) for n in ("input_price", "output_price", "monthly_budget"))
        if not one == two == three:
            raise InputError('Settings "chat": input_price, output_price and monthly_budget must be in one currency.')
        per_token = [Fraction(price * NANO, 1_000_000) for price in (a, b)]
        if any(price.denominator != 1 for price in per_token):
            raise InputError('Settings "chat": prices per million tokens have at most three decimals.')
        return one, int(per_token[0]), int(per_token[1]), int(c * NANO)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A causal language model in a folder of this machine, as ``transformers`` saves it."""

    path: str
    device: str = "auto"  # "cpu" | "cuda" | "auto"
    mode: str = "write"
    by: str = "category"
    candidates: int = 4
    max_tokens: int = 1500
    unseen: bool = False

    def checked(self) -> Self:
        """Return itself when every value is allowed; raises InputError that says what is."""
        _check(self, "local")
        return self


def read(kind: type[Any], table: Any, name: str) -> Any:
    """Make ``kind`` from the table ``name`` of the settings file; raises InputError for what does not belong there."""
    if not isinstance(table, dict):
        raise InputError(f'Setting "{name}" must be a table: [{name}].')
    known = [field.name for field in fields(kind)]
    for key in table:
        if key not in known:
            raise InputError(f'There is no setting "{name}.{key}".{did_you_mean(key, known)} Known: {", ".join(known)}.')
    for key in known[: 2 if kind is ChatModel else 1]:
        if key not in table:
            raise InputError(f'Table [{name}] has no "{key}".')
    return kind(**table).checked()


def _check(model: Any, name: str) -> None:
    values = {key: getattr(model, key) for key in _RULES if hasattr(model, key)}
    check(f"Settings [{name}]", values, {key: _RULES[key] for key in values})
    if not isinstance(model.unseen, bool):
        raise InputError(f'Setting "{name}.unseen" must be true or false; got {model.unseen!r}.')
    for key in ("model", "path"):
        text = getattr(model, key, "x")
        if not isinstance(text, str) or not text or len(text) > 255:
            raise InputError(f'Setting "{name}.{key}" must be a text of 1 to 255 characters; got {text!r:.80}.')


def _amount(text: object, name: str) -> tuple[Fraction, str]:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ([A-Z]{3})", text) if isinstance(text, str) else None
    if not found:
        raise InputError(f'Setting "chat.{name}" must be an amount and a currency such as "0.15 USD"; got {text!r}.')
    return Fraction(found[1]), found[2]
