"""Read one returned e-mail: a delivery report (RFC 3464), a complaint (ARF, RFC 5965), an automatic reply, or something else.

What it claims is only as good as its references (``feedback_refs``): nothing here decides who is concerned. A returned mail is
written by strangers, so it is read within bounds: so many bytes, so many parts, and whatever cannot be read is ``unknown``.

Which failures are permanent follows RFC 3463: the address (5.1.x), a mailbox that is switched off (5.2.1), a domain without a
mail server (5.4.4). Everything else that is refused for good - a full mailbox, a size, a policy, a reputation - says nothing against
the address, and counts as soft.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message as Mail
from enum import StrEnum

LARGEST = 1 << 20  # bytes of one mail that are read; a report begins with what matters
MOST_PARTS = 50
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_GONE = re.compile(r"5\.1\.\d{1,3}|5\.2\.1|5\.4\.4")
_WHO = (
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "to",
    "return-path",
    "message-id",
    "in-reply-to",
    "references",
    "original-mail-from",
)


class Kind(StrEnum):
    """What a returned mail says."""

    HARD = "hard"  # the address does not exist: never again
    SOFT = "soft"  # refused this time
    COMPLAINT = "complaint"  # the person pressed "this is spam"
    AUTO_REPLY = "auto_reply"  # an absence note; says nothing
    DELAYED = "delayed"  # a server still tries; says nothing yet
    UNKNOWN = "unknown"  # for a person to read


@dataclass(frozen=True, slots=True)
class Returned:
    """A returned mail: what it says, the status code that it gives (RFC 3463), and the text in which references may stand."""

    kind: Kind
    status: str = ""
    text: str = ""


def parse(data: bytes) -> Returned:
    """What the bytes of a mail say; never raises for what is in them."""
    try:
        mail = email.message_from_bytes(data[:LARGEST], policy=email.policy.compat32)
        parts = list(_parts(mail))
        text = "\n".join(_told(part) for part in parts)
        kind, status = _kind(mail, parts)
    except (RecursionError, ValueError, LookupError, AttributeError, TypeError):  # what a crafted mail makes the parser stumble over
        return Returned(Kind.UNKNOWN)
    return Returned(kind, status, text)


def _parts(mail: Mail) -> Iterator[Mail]:
    """The mail and the first fifty parts in it, in order."""
    waiting, seen = [mail], 0
    while waiting and seen < MOST_PARTS:
        part = waiting.pop(0)
        seen += 1
        yield part
        if part.is_multipart():
            waiting[:0] = [inner for inner in part.get_payload() if isinstance(inner, Mail)]


def _told(part: Mail) -> str:
    """The headers of a part that may hold a reference; of quoted headers sent as text, their first lines."""
    lines = [str(value)[:2000] for name, value in part.items()[:200] if name.lower() in _WHO]
    if part.get_content_type() == "text/rfc822-headers" and not part.is_multipart():
        payload = part.get_payload(decode=True)
        quoted = email.message_from_bytes(payload[:65_536] if isinstance(payload, bytes) else b"", policy=email.policy.compat32)
        lines += [str(value)[:2000] for name, value in quoted.items()[:200] if name.lower() in _WHO]
    return "\n".join(lines)


def _kind(mail: Mail, parts: list[Mail]) -> tuple[Kind, str]:
    report = str(mail.get_param("report-type") or "").lower() if mail.get_content_type() == "multipart/report" else ""
    if report == "feedback-report":
        return _complaint(parts)
    if report == "delivery-status":
        return _delivery(parts)
    automatic = str(mail.get("Auto-Submitted", "no")).lower().partition(";")[0].strip() not in ("no", "")
    if automatic or mail.get("X-Autoreply") or str(mail.get("Precedence", "")).lower() in ("auto_reply", "auto-reply"):
        return Kind.AUTO_REPLY, ""
    return Kind.UNKNOWN, ""


def _complaint(parts: list[Mail]) -> tuple[Kind, str]:
    """ARF: the machine-readable part is a message whose headers are its fields."""
    for part in parts:
        kind = str(part.get("Feedback-Type", "")).strip().lower()
        if kind:
            return (Kind.COMPLAINT, kind) if kind in ("abuse", "fraud", "other", "opt-out") else (Kind.UNKNOWN, kind[:64])
    return Kind.UNKNOWN, ""


def _delivery(parts: list[Mail]) -> tuple[Kind, str]:
    """The recipient that fared worst; our messages have one."""
    found = [_recipient(part) for part in parts if part.get("Action")]
    order = [Kind.HARD, Kind.SOFT, Kind.DELAYED, Kind.UNKNOWN]
    return min(found, key=lambda one: order.index(one[0]), default=(Kind.UNKNOWN, ""))


def _recipient(fields: Mail) -> tuple[Kind, str]:
    action = str(fields["Action"]).strip().lower()
    if action == "delayed":
        return Kind.DELAYED, ""
    if action != "failed":
        return Kind.UNKNOWN, ""
    stated = _STATUS.search(str(fields.get("Status", "")))
    diagnostic = _STATUS.search(str(fields.get("Diagnostic-Code", ""))[:2000])
    # Many servers state 5.0.0 and give the code that matters in their own words.
    best = diagnostic if diagnostic and (stated is None or (stated[2], stated[3]) == ("0", "0")) else stated
    if best is None:
        return Kind.SOFT, ""
    return (Kind.HARD if _GONE.fullmatch(best[0]) else Kind.SOFT), best[0]
