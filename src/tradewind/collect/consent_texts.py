"""The words that people agree to, by purpose and language, with a version and a hash.

``consent_texts.toml`` beside this file holds the shipped ones; ``consent.toml`` in the shop's folder replaces any of them. Have
a lawyer read yours. A text is kept in the ledger from the first time that somebody was asked with it.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from tradewind.engine.books_people import consent_texts
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError, unknown

NAME = "consent.toml"
LOCALES = ("zh-CN", "en")


@dataclass(frozen=True, slots=True)
class Text:
    """What is asked, in one language; ``{shop}`` and ``{channel}`` are filled in."""

    purpose: str
    locale: str
    version: str
    body: str

    @property
    def hash(self) -> str:
        """SHA-256 of the words, 64 hexadecimal digits."""
        return hashlib.sha256(self.body.encode()).hexdigest()


def text(root: Path, purpose: str, locale: str, *, shop: str, channel: str) -> Text:
    """The words for a purpose in a language, with the names of the shop and of the channel filled in.

    Raises
    ------
    InputError
        There is no text for it, or ``consent.toml`` cannot be read.
    """
    own = root / NAME
    told = _read(own) if own.is_file() else {}
    for source in (told, _shipped()):
        if purpose in source.get("text", {}) and locale in source["text"][purpose]:
            words = str(source["text"][purpose][locale]).replace("{shop}", shop).replace("{channel}", called(channel, locale))
            return Text(purpose, locale, str(source["version"]), " ".join(words.split()))
    raise unknown(f"text of consent in {locale} for the purpose", purpose, _shipped()["text"])


def called(channel: str, locale: str) -> str:
    """What a channel is called in a language."""
    name: str = _shipped()["channel"].get(channel, {}).get(locale, channel)
    return name


def keep(conn: Connection, shown: Text) -> None:
    """Keep the words in the ledger; the same words once."""
    row = {"text_hash": shown.hash, "version": shown.version, "purpose": shown.purpose, "locale": shown.locale, "body": shown.body}
    insert_new(conn, consent_texts, [row])


@cache
def _shipped() -> Mapping[str, Any]:
    return _read(Path(__file__).with_suffix(".toml"))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f'Cannot read {path}: {error}. Write a version = "..." and texts such as [text.marketing] en = "...".') from error
    texts = told.get("text", {})
    if not isinstance(told.get("version"), str) or not isinstance(texts, dict) or not all(isinstance(one, dict) for one in texts.values()):
        raise InputError(f'{path} needs version = "..." and texts such as [text.marketing] en = "...".')
    return told
