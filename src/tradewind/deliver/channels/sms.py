"""Text messages through any provider's HTTP gateway, as ``[sms]`` in ``channels.toml`` describes it.

Where the provider sends only what it has approved (mainland China), ``vendor`` names its rules: a message leaves only when it is an
instance of a template that is approved now (``compose/registered.py``), and only in the vendor's hours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

from tradewind.compose import registered
from tradewind.compose.sms import segments
from tradewind.deliver.channels._gateway import Gateway
from tradewind.deliver.channels._settings import needed
from tradewind.deliver.channels.base import Channel, accepted
from tradewind.deliver.links import Links, links_base
from tradewind.errors import InputError, StateError, Terminal
from tradewind.types import Message, Receipt, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HOLES = ("to", "body", "message_id", "segments", "encoding", "at", "template", "variables", "sign")
LONGEST = 40  # characters of a template's variable; no vendor takes more
CHINA = ZoneInfo("Asia/Shanghai")  # in which the vendors state their hours
_SLOT = re.compile(r"\{(\w+)\}")
_SIGN = re.compile(r"\s*\u3010([^\u3010\u3011]{1,30})\u3011\s*")


class Sms(Channel):
    """Send text messages through ``gateway``; ``most`` parts at most, because every part is paid."""

    carries = ("sms",)

    def __init__(
        self,
        gateway: Gateway,
        *,
        most: int = 5,
        vendor: str | None = None,
        register: registered.Register | None = None,
        links: Links | None = None,
    ) -> None:
        self.gateway = gateway
        self.most = most
        self.vendor = vendor
        self.register = register
        self.links = links
        self.idempotent = gateway.key_header is not None

    def __repr__(self) -> str:
        return f"Sms({self.gateway.endpoint.host!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:
        """From ``[sms]`` in ``channels.toml``; its secrets from the environment variables that it names."""
        table = needed(home, "sms")
        vendor, most, base = table.get("vendor", str, None), table.get("segments", int, 5), links_base(home)
        gateway = Gateway.of(table, home, environment, known=HOLES)
        table.table("receipts")
        table.end()
        if not 1 <= most <= 20:
            raise InputError(f"{table.where}: segments must be a whole number from 1 to 20; got {most}.")
        if vendor is not None:
            registered.hours(vendor)  # a vendor that exists
        return cls(gateway, most=most, vendor=vendor, register=registered.Register(home.root), links=Links.of(home, base) if base else None)

    @property
    def provider(self) -> str:
        """Host and port."""
        return f"sms {self.gateway.endpoint.host}"

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        """Hand one text message to the provider; see :class:`Channel` for what is raised."""
        body = (self.links.fill(message, at=at) if self.links else message).parts.get("body", "")
        if not body.strip():
            raise Terminal("a text message needs the part body")
        parts = segments(body)
        if parts.count > self.most:
            raise Terminal(f"the text takes {parts.count} parts in {parts.encoding}, at most {self.most} are sent")
        values: dict[str, Any] = {
            "to": number(address),
            "body": body,
            "message_id": message.message_id,
            "segments": parts.count,
            "encoding": parts.encoding,
            "at": micros(at) // 1_000_000,
            "template": "",
            "variables": {},
            "sign": "",
        }
        if self.vendor is not None:
            values |= self._approved(body, self.vendor, at)
        return accepted(message, at=at, provider_id=self.gateway.post(self.gateway.payload(values), key=message.message_id))

    def close(self) -> None:
        """End the connection."""
        self.gateway.close()

    def _approved(self, body: str, vendor: str, at: datetime) -> dict[str, Any]:
        """Number, variables and signature of the approved template that ``body`` is an instance of."""
        first, last = registered.hours(vendor)
        if not first <= at.astimezone(CHINA).hour < last:
            raise StateError(
                f"{vendor} sends promotions from {first}:00 to {last}:00, China time. The messages stay ready; deliver again then."
            )
        assert self.register is not None, "a vendor comes with a register"
        sign = _SIGN.match(body) or _SIGN.search(body, max(0, len(body) - 40))
        text = (body[: sign.start()] + body[sign.end() :] if sign else body).strip()
        for entry in self.register.usable(vendor=vendor, now=at):
            if (found := instance(entry.text, text)) is not None:
                try:
                    return {"template": entry.code, "variables": registered.values(entry, found), "sign": sign[1] if sign else ""}
                except InputError as error:  # too long a value, or a link in one: another text may do
                    raise Terminal(str(error)) from None
        raise Terminal(f"{vendor} has approved no template that this text is an instance of")


def instance(template: str, text: str) -> dict[str, str] | None:
    """The values of a template's slots in ``text``; None when it is no instance. A slot that stands twice has one value.

    >>> instance("Hi {title}!", "Hi boots!")
    {'title': 'boots'}
    """
    pattern, seen, end = "", set(), 0
    for slot in _SLOT.finditer(template):
        pattern += re.escape(template[end : slot.start()]) + (f"(?P={slot[1]})" if slot[1] in seen else f"(?P<{slot[1]}>.{{1,{LONGEST}}}?)")
        seen.add(slot[1])
        end = slot.end()
    found = re.fullmatch(pattern + re.escape(template[end:]), text.strip(), re.DOTALL)
    return found.groupdict() if found else None


def number(address: str | None) -> str:
    """A telephone number as gateways take it: digits, with the leading "+" where the country is given."""
    digits = re.sub(r"[ ()./-]", "", address or "")
    if digits.startswith("00"):
        digits = f"+{digits[2:]}"
    if not re.fullmatch(r"\+?[0-9]{5,15}", digits):
        raise Terminal("the contact is no telephone number")
    return digits


PLUGIN = Sms
