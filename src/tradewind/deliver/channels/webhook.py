"""Hand messages to a service of the shop's own over HTTP, signed as Standard Webhooks describes it.

The service gets one JSON object per message and answers with a status; ``webhook-id`` and ``Idempotency-Key`` are the message's
id. A service that promises to take an id once is declared with ``idempotent = true``, and is asked again after a doubt.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Self

from tradewind.deliver.channels import _http, _signing
from tradewind.deliver.channels._settings import Section, needed, secret
from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.links import Links, links_base
from tradewind.errors import InputError, StateError, Terminal
from tradewind.types import Message, Receipt

if TYPE_CHECKING:
    from tradewind.engine.home import Home

WRONG_DOOR = (404, 405, 410)  # the service is not there (any more)


class Webhook(Channel):
    """Post every message to ``endpoint``, signed with each of ``keys``; with ``addresses`` the contact point goes along in clear text."""

    def __init__(
        self,
        endpoint: _http.Endpoint,
        keys: Sequence[bytes],
        *,
        addresses: bool = False,
        idempotent: bool = False,
        links: Links | None = None,
    ) -> None:
        if not keys:
            raise InputError("A webhook needs a secret to sign with. Name its environment variable in secret_env.")
        self.endpoint = endpoint
        self.addressed = addresses
        self.idempotent = idempotent
        self.links = links
        self._keys = tuple(keys)
        self._client = _http.Client(endpoint)

    def __repr__(self) -> str:
        return f"Webhook({self.endpoint.host!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:
        """From ``[webhook]`` in ``channels.toml``; its secrets from the environment variables that it names."""
        table = needed(home, "webhook")
        names = table.get("secret_env", list)
        keys = [_signing.secret_of(secret(environment, name, where=table.where)) for name in names]
        addresses, keyed = table.get("addresses", bool, False), table.get("idempotent", bool, False)
        point, base = endpoint(table, home), links_base(home)
        table.end()
        return cls(point, keys, addresses=addresses, idempotent=keyed, links=Links.of(home, base) if base else None)

    @property
    def provider(self) -> str:
        """Host and port."""
        return f"webhook {self.endpoint.host}"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        """Post one message; see :class:`Channel` for what is raised."""
        filled = self.links.fill(message, at=at) if self.links else message
        data = json.loads(filled.to_json())
        if self.addressed:
            data["address"] = address
        body = json.dumps({"type": "message", "timestamp": at.isoformat(), "data": data}, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.message_id}
        answer = self._client.post(body, headers | _signing.sign(self._keys, id=message.message_id, at=at, body=body))
        if answer.status in WRONG_DOOR:
            raise StateError(
                f"{self.endpoint.host} has nothing at this address ({answer.status}). Correct url in [webhook], then deliver again."
            )
        judge(answer, self.endpoint.host)
        return accepted(message, at=at, provider_id=None)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def endpoint(table: Section, home: Home) -> _http.Endpoint:
    """The keys ``url``, ``timeout``, ``private`` and ``ca`` (a PEM file of certificates, from the shop's folder) of a table."""
    ca, context = table.get("ca", str, None), None
    if ca is not None:
        try:
            context = ssl.create_default_context(cafile=str(home.root / ca))
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"{table.where}: ca must be a PEM file of certificates; {home.root / ca}: {error.strerror or error}."
            ) from None
    return _http.Endpoint(table.get("url", str), float(table.get("timeout", float, 10.0)), table.get("private", bool, False), context)


def judge(answer: _http.Answer, host: str) -> None:
    """Return for an answer whose status says that a request was taken; raise what any other one says.

    2xx: taken. 3xx: not followed. 401, 403, 407: credentials. 408, 425, 429, 503: later. Other 4xx: refused for good. Other 5xx: the
    server failed on the way, and nobody knows how far it came.
    """
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise StateError(f"{host} redirects ({status}), which is not followed. Set url to where it leads, if you trust that.")
    if status in _http.REFUSED:
        raise StateError(f"{host} refused the credentials ({status}). Correct them, then deliver again.")
    if status in _http.LATER:
        raise answer.later(f"{host} asks to come later ({status})")
    if 400 <= status < 500:
        raise Terminal(f"{host} refused the message for good ({status})")
    raise Uncertain(f"{host} failed on the way ({status})")


PLUGIN = Webhook
