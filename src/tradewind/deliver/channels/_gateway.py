"""Any provider that takes messages over HTTP, described by a mapping in ``channels.toml`` instead of code; docs/channels.md has the keys.

A body is a template of JSON values or form fields. A text that is one placeholder, ``"{segments}"``, becomes that value with its own type;
a placeholder within a text is written out. Values are encoded by the format (JSON, form), never pasted: no value can end a string.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tradewind.deliver.channels import _http
from tradewind.deliver.channels._settings import Section, secret
from tradewind.deliver.channels.base import Uncertain
from tradewind.deliver.channels.webhook import endpoint, judge
from tradewind.errors import InputError, StateError, Terminal, did_you_mean

if TYPE_CHECKING:
    from tradewind.engine.home import Home

_HOLE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
CLASSES = ("ok", "transient", "permanent", "unknown", "stop")


@dataclass(frozen=True)
class Answers:
    """How a provider's answer reads: dotted paths of its message id and code, and codes by what they mean."""

    id: str | None = None
    code: str | None = None
    meaning: Mapping[str, str] = field(default_factory=dict)  # code -> one of CLASSES

    @classmethod
    def of(cls, table: Section | None) -> Answers:
        """The table ``answer``; without one, the status alone counts."""
        if table is None:
            return cls()
        where, code = table.get("id", str, None), table.get("code", str, None)
        meaning: dict[str, str] = {}
        for name in CLASSES:
            for text in table.get(name, list, []):
                if text in meaning:
                    raise InputError(f'{table.where}: code "{text}" is both {meaning[text]} and {name}. Keep one.')
                meaning[text] = name
        table.end()
        if meaning and code is None:
            raise InputError(f'{table.where}: codes are listed, but not where they stand. Set code to a path such as "error.code".')
        if code is not None and "ok" not in meaning.values():
            raise InputError(f"{table.where}: say which codes are ok: with code set, a code that is not listed counts as unknown.")
        return cls(where, code, meaning)

    def read(self, answer: _http.Answer, host: str) -> str | None:
        """The provider's id of a message that it took; raises what the answer says otherwise.

        A listed code counts before the status. Of an answer with a good status but without a readable, listed code nobody knows.
        """
        found = _decoded(answer.body) if answer.whole else None
        code = None if self.code is None else at(found, self.code)
        meaning = self.meaning.get(str(code)) if isinstance(code, str | int) and not isinstance(code, bool) else None
        if meaning is None:
            judge(answer, host)
            if self.code is not None:
                raise Uncertain(f"{host} answered {answer.status} without a code that channels.toml lists")
        told = f"{host} answered with code {_plain(code)}"
        if meaning == "transient":
            raise answer.later(told)
        if meaning == "permanent":
            raise Terminal(told)
        if meaning == "unknown":
            raise Uncertain(told)
        if meaning == "stop":
            raise StateError(f"{told}: the account cannot send now. Settle that with the provider, then deliver again.")
        name = None if self.id is None else at(found, self.id)
        return _plain(name) if isinstance(name, str | int) else None


@dataclass
class Gateway:
    """One provider: where, with which credentials, with which body, and how it answers."""

    endpoint: _http.Endpoint
    headers: Mapping[str, str] = field(repr=False)
    form: bool
    body: Mapping[str, Any]
    answers: Answers
    key_header: str | None  # the header in which the provider honours an idempotency key

    def __post_init__(self) -> None:
        self._client = _http.Client(self.endpoint)

    @classmethod
    def of(cls, table: Section, home: Home, environment: Mapping[str, str], *, known: Collection[str]) -> Gateway:
        """Read a channel's table; ``known`` are the placeholders that this channel fills."""
        form = table.get("format", str, "json")
        if form not in ("json", "form"):
            raise InputError(f'{table.where}: format must be "json" or "form"; got "{form}".')
        body, key_header = table.get("body", dict), table.get("idempotency_header", str, None)
        check(body, known, where=table.where, nested=form == "json")
        headers = {
            "Content-Type": "application/json" if form == "json" else "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        headers |= _auth(table.table("auth"), environment)
        if key_header is not None and not _HEADER.fullmatch(key_header):
            raise InputError(
                f'{table.where}: idempotency_header must be the name of a header such as "Idempotency-Key"; got "{key_header}".'
            )
        return cls(endpoint(table, home), headers, form == "form", body, Answers.of(table.table("answer")), key_header)

    def payload(self, values: Mapping[str, Any]) -> bytes:
        """The bytes of a request."""
        filled = fill(self.body, values)
        if self.form:
            return urlencode({name: value if isinstance(value, str) else json.dumps(value) for name, value in filled.items()}).encode()
        return json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def post(self, body: bytes, *, key: str) -> str | None:
        """Send one message and return the provider's id of it; raises as a channel does."""
        headers = dict(self.headers) | ({} if self.key_header is None else {self.key_header: key})
        return self.answers.read(self._client.post(body, headers), self.endpoint.host)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def check(template: Any, known: Collection[str], *, where: str, nested: bool = True) -> None:
    """Raise InputError for a placeholder that this channel does not fill, and for tables inside a form."""
    if isinstance(template, str):
        for hit in _HOLE.finditer(template):
            if hit[1] is not None and hit[1] not in known:
                raise InputError(
                    f'{where}: there is no placeholder "{{{hit[1]}}}".{did_you_mean(hit[1], known)} '
                    f"Known: {', '.join(sorted(known))}; a brace itself is written twice."
                )
        return
    inner = template.values() if isinstance(template, Mapping) else template if isinstance(template, list) else ()
    for value in inner:
        if not nested and isinstance(value, dict | list):
            raise InputError(f'{where}: a form has flat fields; tables and lists need format = "json".')
        check(value, known, where=where, nested=nested)


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with its placeholders replaced; a text that is one placeholder takes the value's own type."""
    if isinstance(template, Mapping):
        return {name: fill(value, values) for name, value in template.items()}
    if isinstance(template, list):
        return [fill(value, values) for value in template]
    if not isinstance(template, str):
        return template
    whole = re.fullmatch(r"\{([^{}]+)\}", template)
    if whole:
        return values[whole[1]]
    return _HOLE.sub(lambda hit: hit[0][0] if hit[1] is None else _text(values[hit[1]]), template)


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path such as ``data.0.id``; None when nothing does."""
    for name in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _auth(table: Section | None, environment: Mapping[str, str]) -> dict[str, str]:
    """``kind = "bearer"`` with ``token_env``, "basic" with ``user_env`` and ``password_env``, "header" with ``name`` and ``token_env``."""
    if table is None:
        return {}
    kind = table.get("kind", str)

    def value(key: str) -> str:
        return secret(environment, table.get(key, str), where=table.where)

    if kind == "bearer":
        made = {"Authorization": f"Bearer {value('token_env')}"}
    elif kind == "basic":
        made = {"Authorization": "Basic " + base64.b64encode(f"{value('user_env')}:{value('password_env')}".encode()).decode()}
    elif kind == "header" and _HEADER.fullmatch(table.get("name", str)):
        made = {table.get("name", str): value("token_env")}
    else:
        raise InputError(f'{table.where}: kind must be "bearer", "basic" or "header" (with the name of one); got "{kind}".')
    table.end()
    return made


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", str(value))[:255]
