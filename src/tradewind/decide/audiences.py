"""Conversions and audiences for external advertising platforms, as CSV: hashed e-mail, value, currency - and nobody without consent.

A person is exported only with a consent of channel "ads" in the consent ledger, with an e-mail address in the vault, and when that
address is not suppressed on any channel. The file holds SHA-256 of the address in the spelling that the platform hashes; an
unsalted hash of an address is still personal data, so the file is to be handed over and deleted.
Source: the customer-match and offline-conversion guides of Google Ads and Meta (normalise, then SHA-256 in lower-case hexadecimal).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from tradewind.collect.consent import Consents
from tradewind.collect.money import minor_units
from tradewind.collect.vault import Vault
from tradewind.engine import ledger
from tradewind.engine.files import atomic_write
from tradewind.errors import InputError
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.engine.home import Home

CHANNEL = "ads"  # of the consent that this export asks for
PLATFORMS = ("google", "meta")
HEADER = ("hashed_email", "conversion_time", "value", "currency", "consent")
_DOTLESS = ("gmail.com", "googlemail.com")
_CHUNK = 5_000  # people whose addresses are read at once


@dataclass(frozen=True, slots=True)
class Worth:
    """What a person is worth to the platform's bidding: ``value`` in minor units (calibrated), at the time of a conversion or None."""

    customer: str
    value: int
    currency: str
    at: datetime | None = None


@dataclass(frozen=True)
class Exported:
    """How many rows were written, and how many were left out and why."""

    written: int = 0
    without_consent: int = 0
    suppressed: int = 0
    without_address: int = 0


def hashed_email(address: str, *, platform: str) -> str:
    """SHA-256, 64 hexadecimal digits, of an address as ``platform`` spells it before hashing.

    Both take outer blanks off and lower-case; Google also drops the dots and the "+suffix" before gmail.com and googlemail.com.

    Raises
    ------
    InputError
        The platform is not known, or the text is no e-mail address.
    """
    if platform not in PLATFORMS:
        raise InputError(f'There is no platform "{platform}". Known: {", ".join(PLATFORMS)}.')
    name, at, domain = address.strip().lower().rpartition("@")
    if not (name and at and domain) or any(each.isspace() for each in name + domain):
        raise InputError("hashed_email: the text is no e-mail address (one @ with something on both sides, no blanks).")
    if platform == "google" and domain in _DOTLESS:
        name = name.partition("+")[0].replace(".", "")
    return hashlib.sha256(f"{name}@{domain}".encode()).hexdigest()


def export(home: Home, people: Iterable[Worth], path: Path, *, platform: str) -> Exported:
    """Write the people with consent to a CSV file of columns ``HEADER``, in the order given; everyone else is counted and left out.

    The file appears whole or not at all. Values are written in major units with the currency's decimals ("12.30").

    Raises
    ------
    InputError
        The platform is not known, a value is negative, or a time has no zone.
    StateError
        The vault's master key is missing.
    """
    if platform not in PLATFORMS:
        raise InputError(f'There is no platform "{platform}". Known: {", ".join(PLATFORMS)}.')
    given = list(people)
    agreed = {row["customer"] for row in Consents(home).sendable().to_pylist() if row["channel"] == CHANNEL}
    stopped = _suppressed(home)
    counts = {"written": 0, "without_consent": 0, "suppressed": 0, "without_address": 0}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for each, address in _addressed(home, given, agreed - stopped):
        if each.customer not in agreed:
            counts["without_consent"] += 1
        elif each.customer in stopped:
            counts["suppressed"] += 1
        elif address is None:
            counts["without_address"] += 1
        else:
            writer.writerow(_row(each, address, platform))
            counts["written"] += 1
    atomic_write(path, text.getvalue().encode())
    return Exported(**counts)


def _row(each: Worth, address: str, platform: str) -> tuple[str, ...]:
    if each.value < 0:
        raise InputError(f"export: a value must be 0 or more minor units; got {each.value}. Platforms take no negative values.")
    units = minor_units(each.currency)
    value = f"{Decimal(each.value) / units:.{len(str(units)) - 1}f}"
    at = "" if each.at is None else utc(each.at, what="conversion time").strftime("%Y-%m-%dT%H:%M:%SZ")
    return hashed_email(address, platform=platform), at, value, each.currency, "GRANTED"


def _addressed(home: Home, given: list[Worth], wanted: set[str]) -> Iterator[tuple[Worth, str | None]]:
    """Everyone given, with the e-mail address of those who are wanted and have one."""
    vault = Vault(home)
    for start in range(0, len(given), _CHUNK):
        some = given[start : start + _CHUNK]
        pairs = sorted({(each.customer, "email") for each in some if each.customer in wanted})
        with home.ledger.read() as conn:
            found = vault.addresses(conn, pairs)
        yield from ((each, found.get((each.customer, "email"))) for each in some)


def _suppressed(home: Home) -> set[str]:
    """Customers one of whose addresses is suppressed, on whatever channel."""
    contact, stop = ledger.contacts.c, ledger.suppressions.c
    with home.ledger.read() as conn:
        rows = conn.execute(
            select(contact.customer).join_from(ledger.contacts, ledger.suppressions, contact.address_hash == stop.address_hash).distinct()
        )
        return set(rows.scalars())
