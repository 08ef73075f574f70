"""The public pages as HTML: no script, no cookie, no picture from elsewhere; words in ``public.toml``, in zh-CN and en."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

LOCALES = ("zh-CN", "en")
_HERE = Path(__file__).parent
_EMPTY = dict.fromkeys(("said", "ask", "quote", "note", "quoted", "button", "nothing", "action", "link", "switch"), "") | {
    "fields": (),
    "groups": (),
}


@cache
def words(locale: str) -> Mapping[str, Any]:
    """The words of the pages in one language."""
    told: Mapping[str, Any] = tomllib.loads((_HERE / "public.toml").read_text(encoding="utf-8"))[locale]
    return told


def page(name: str, locale: str, *, shop: str, channel: str = "", **more: Any) -> str:
    """One page; ``name`` is a table of ``public.toml``, ``more`` what the template takes beside its words."""
    said = words(locale)
    mine = {key: text.replace("{shop}", shop).replace("{channel}", channel) for key, text in said[name].items()}
    shared = {key: text for key, text in said.items() if isinstance(text, str)}
    return _template().render(_EMPTY | shared | mine | {"locale": locale, "shop": shop, "style": _style()} | more)


def language(asked: str, header: str, *, otherwise: str) -> str:
    """The language of a page: what the address says, else the first of ours that the browser names, else the shop's."""
    if asked in LOCALES:
        return asked
    for part in header.split(",")[:20]:
        tag = part.partition(";")[0].strip().lower()
        if re.fullmatch(r"zh(-.*)?", tag):
            return "zh-CN"
        if re.fullmatch(r"en(-.*)?", tag):
            return "en"
    return otherwise


@cache
def headers() -> Mapping[str, str]:
    """What every answer carries. The only style is ours, by its hash; the address of a page, which holds a token, goes nowhere."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    return {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-robots-tag": "noindex",
        "cache-control": "no-store",
        "permissions-policy": "interest-cohort=()",
    }


@cache
def _style() -> str:
    return (_HERE / "templates" / "public.css").read_text(encoding="utf-8")


@cache
def _template() -> Template:
    maker = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return maker.get_template("public.html")
