"""Look for an erased person in every byte: the proof that an erasure held, and the alarm when it did not.

With the identifiers of whoever asks (an id, addresses) every cell of the ledger, every value of every Parquet and model file and every
byte of every file is compared with them, in the spellings in which they may lie. Without any, the keyed hashes of all certificates
are compared with the keyed hash of everything that stands where a customer can, and of everything that looks like an address.
Compressed and packed files are opened; free pages of a database are bytes like any other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import select

from tradewind.collect import erase_journal
from tradewind.collect.erase_clean import SHORTEST, distinctive
from tradewind.collect.erase_look import Cells, cells
from tradewind.collect.vault import BURIED, DESTROYED, Vault, normalise
from tradewind.engine import ledger as books
from tradewind.engine.books_vault import erasures
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.engine.home import Home

BLOCK = 8 << 20  # bytes read at once
_ADDRESS = re.compile(r"[^\s\"'<>,;:()\\]+@[^\s\"'<>,;:()\\]+\.[^\s\"'<>,;:()\\]+|\+?[0-9][0-9 ()./-]{5,}[0-9]")


@dataclass(frozen=True, slots=True)
class Finding:
    """A place where a person still is."""

    place: str
    what: str  # "id" | "address" | "key" | "unfinished"; never the value itself
    count: int = 1


@dataclass(frozen=True)
class Proof:
    """What was looked at, and what was found there."""

    people: int
    files: int
    bytes: int
    values: int  # cells and packed texts that were opened and compared
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    places: dict[str, int] = field(default_factory=dict)  # kind of place -> bytes, or values of a database

    @property
    def clean(self) -> bool:
        """Whether nobody was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"clean": self.clean, **asdict(self)}

    def to_text(self) -> str:
        """Lines for people."""
        looked = f"looked for {self.people:,} erased customer(s) in {self.files:,} files, {self.bytes:,} bytes and {self.values:,} values"
        lines = [f"{looked}: {len(self.findings)} finding(s)"]
        lines += [f"  {size:>15,}  {kind}" for kind, size in sorted(self.places.items())]
        lines += [f"  FOUND {one.what} in {one.place}, {one.count} time(s)" for one in self.findings]
        lines += [f"  note: {note}" for note in self.notes]
        if self.findings:
            lines.append("Erase again; what lies outside the shop's folder, remove by hand.")
        return "\n".join(lines)


def verify(home: Home, *, customers: Sequence[str] = (), addresses: Sequence[str] = (), paths: Sequence[Path] = ()) -> Proof:
    """Search the shop, and ``paths`` (backups, logs, database folders), for these people or for everybody who was erased.

    Raises
    ------
    InputError
        Addresses without a customer, or a path that does not exist.
    """
    if addresses and not customers:
        raise InputError("verify needs the customer's id along with addresses. Without both it looks for everybody who was erased.")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist. Give files or folders to search.")
    vault = Vault(home)
    seeker = _Named(customers, addresses) if customers else _Hashed(home, vault)
    found: Counter[tuple[str, str]] = Counter()
    sizes: Counter[str] = Counter()
    values = files = 0
    for place, kind, column in cells(home, paths, hashed=not customers):
        for what, count in seeker.among(column):
            found[place, what] += count
        sizes[kind] += len(column)
        values += len(column)
    for path in _files(home, paths):
        size, hits = _bytes(path, seeker.needles)
        for what, count in hits.items():
            if not any(name == _place(home, path) and told == what for name, told in found):
                found[_place(home, path), what] += count
        sizes["bytes of files"] += size
        files += 1
    subjects = set(vault.subjects(customers)) if customers else seeker.subjects
    findings = [Finding(place, what, count) for (place, what), count in sorted(found.items())]
    findings += _keys(home, customers, subjects)
    notes = [*_notes(home), *seeker.notes]
    return Proof(len(subjects), files, sizes["bytes of files"], values, tuple(findings), tuple(notes), dict(sizes))


def _place(home: Home, path: Path) -> str:
    return str(path.relative_to(home.root)) if path.is_relative_to(home.root) else str(path)


def _files(home: Home, paths: Iterable[Path]) -> Iterator[Path]:
    for top in (home.root, *paths):
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path


def _bytes(path: Path, needles: Sequence[tuple[bytes, str, bool]]) -> tuple[int, Counter[str]]:
    """How large a file is, and which needles are in it; read in overlapping blocks."""
    hits: Counter[str] = Counter()
    overlap = max((len(needle) for needle, _, _ in needles), default=1) + 1
    size, tail = 0, b""
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            size += len(block)
            window = tail + block
            for needle, what, plain in needles:
                hits[what] += _occurs(window, needle, plain=plain, skip=len(tail) - len(needle) if tail else -1)
            tail = window[-overlap:]
    return size, +hits


def _occurs(window: bytes, needle: bytes, *, plain: bool, skip: int) -> int:
    """Occurrences of a needle; a plain one that ends in a digit is none when another digit follows: C12 is not in C123."""
    count, at = 0, window.find(needle)
    first, last = plain and needle[:1].isdigit(), plain and needle[-1:].isdigit()
    while at >= 0:
        end = at + len(needle)
        longer = (last and window[end : end + 1].isdigit()) or (first and at > 0 and window[at - 1 : at].isdigit())
        count += not longer and at > skip
        at = window.find(needle, at + 1)
    return count


def recover(home: Home, hashes: set[str]) -> list[str]:
    """The addresses with these keyed hashes that stand in clear text somewhere in a shop: what a restored backup may bring back."""
    vault, found = Vault(home), set()
    for _, _, column in cells(home, (), hashed=True):
        for value, _, _ in column.counted():
            found |= {one.strip(".") for one in _ADDRESS.findall(value) if vault.hash(one.strip(".")) in hashes}
    return sorted(found)


class _Named:
    """Compares with what the person told: the id, the addresses."""

    def __init__(self, customers: Sequence[str], addresses: Sequence[str]) -> None:
        ids = {name.lower() for name in customers}
        self.subjects: set[str] = set()
        self.notes: list[str] = []
        told = sorted({spelling for address in addresses for spelling in (address, normalise(address), address.lower())})
        told = [one for one in told if one.lower() not in ids]  # some channels are addressed by the id
        digests = [hashlib.sha256(one.encode()).hexdigest() for one in told]
        self._whole = dict.fromkeys([*told, *digests], "address") | dict.fromkeys(customers, "id")
        sure = {word: what for word, what in self._whole.items() if (distinctive(word) if what == "id" else len(word) >= SHORTEST)}
        self._parts = [(word.lower(), what) for word, what in sure.items()]
        if not all(map(distinctive, customers)):
            note = f"an id is a number or has fewer than {SHORTEST} characters: it was looked for where people stand, not among raw bytes"
            self.notes.append(note)
        if not addresses:
            self.notes.append("no address was given, so only the id was looked for; give them with --address")
        self.needles = [(one, what, plain) for word, what in sure.items() for one, plain in _spellings(word, digest=word in digests)]

    def among(self, column: Cells) -> Iterator[tuple[str, int]]:
        yield from column.find(self._whole, self._parts)


class _Hashed:
    """Compares with keyed hashes only: what a shop may keep of those whom it forgot."""

    def __init__(self, home: Home, vault: Vault) -> None:
        self._vault = vault
        self.needles: list[tuple[bytes, str, bool]] = []
        self.notes = ["without identifiers raw bytes cannot be searched: values of all opened files were compared by keyed hash"]
        with home.ledger.read() as conn:
            self.subjects = set(conn.execute(select(erasures.c.subject).where(erasures.c.finished_at.is_not(None))).scalars())
        entries = erase_journal.read(erase_journal.folder(home.root) / erase_journal.NAME, vault.key("erasure journal"))
        self._addresses = {digest for entry in entries for _, digest in entry.addresses}
        self._seen: dict[str, str | None] = {}

    def among(self, column: Cells) -> Iterator[tuple[str, int]]:
        for value, count, mine in column.counted():
            if what := self._known(value, mine=mine):
                yield what, count

    def _known(self, value: str, *, mine: bool) -> str | None:
        if len(value) <= 255 and (mine or distinctive(value)):
            if value not in self._seen:
                self._seen[value] = "id" if next(self._vault.subjects([value])) in self.subjects else self._address(value)
            return self._seen[value]
        return self._address(value)

    def _address(self, value: str) -> str | None:
        return "address" if any(self._vault.hash(one.strip(".")) in self._addresses for one in _ADDRESS.findall(value)) else None


def _spellings(word: str, *, digest: bool) -> set[tuple[bytes, bool]]:
    """How a word may lie among bytes: plain, escaped for JSON, for an address, in base64 at any offset, in UTF-16; and which are plain."""
    plain = word.encode()
    if digest:
        return {(plain, True), (bytes.fromhex(word), False)}
    plainly = {plain, plain.lower(), plain.upper(), quote(word, safe="").encode(), word.encode("unicode_escape")}
    found = {word.encode("utf-16-le")}
    for shift in range(3):  # the characters that do not depend on what stands before and after
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * shift + plain).rstrip(b"=")
            found.add(text[(0, 2, 3)[shift] : -1 if (shift + len(plain)) % 3 else None])
    return {(one, one in plainly) for one in plainly | found if len(one) >= SHORTEST}


def _keys(home: Home, customers: Sequence[str], subjects: set[str]) -> Iterator[Finding]:
    """No key, no unfinished erasure, no key of a backup is left of them; no ciphertext lacks its key."""
    keys, points = books.vault_keys, books.contacts
    with home.ledger.read() as conn:
        if customers and conn.execute(select(keys.c.customer).where(keys.c.customer.in_(customers))).first():
            yield Finding("ledger vault_keys", "key")
        live = select(keys.c.customer).where(keys.c.customer.in_([BURIED + one for one in subjects]), keys.c.wrapped_key != DESTROYED)
        if subjects and len(subjects) < books.CHUNK and conn.execute(live).first():
            yield Finding("ledger vault_keys", "key")
        orphans = select(points.c.customer).where(~points.c.customer.in_(select(keys.c.customer).where(keys.c.wrapped_key != DESTROYED)))
        if conn.execute(orphans.limit(1)).first():
            yield Finding("ledger contacts", "unfinished")
        open_ = conn.execute(select(erasures.c.subject).where(erasures.c.finished_at.is_(None))).scalars().all()
        if left := [one for one in open_ if not customers or one in subjects]:
            yield Finding("ledger erasures", "unfinished", len(left))
    for path in sorted(erase_journal.folder(home.root).glob("*.keys")):
        if count := sum(subject in subjects for subject, _ in erase_journal.held(path)):
            yield Finding(str(path.relative_to(home.root)), "key", count)


def _notes(home: Home) -> Iterator[str]:
    if home.ledger.dialect == "postgresql":
        yield "PostgreSQL keeps dead rows and its write-ahead log until they are recycled; its own files were not read (docs/vault.md)"
        return
    with home.ledger.read() as conn:
        free = conn.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    if free:
        yield f"{free} free pages in ledger.db; their bytes were searched, too"
