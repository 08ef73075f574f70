"""Bytes of text files: archives, encodings, broken bytes and endless lines, at bounded memory."""

from __future__ import annotations

import codecs
import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tradewind.collect.sources.base import KEPT, MAX_LINE, refuse_empty
from tradewind.errors import InputError

ENOUGH_BROKEN = 100_000  # bytes after which the encoding is judged
CHUNK = 4 * 1024 * 1024
BROKEN = "\ufdd0"  # a Unicode noncharacter, for internal use only: marks a byte that is no text
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"{BROKEN}\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("tradewind", _mark)


@dataclass(frozen=True)
class Text:
    """One readable text: a plain file, or one member of an archive that was unpacked to ``path``."""

    path: Path
    name: str  # to show
    encoding: str
    guessed: bool
    clean: bool  # every byte is text and no line is longer than MAX_LINE
    lines: int  # physical lines


def unpack(path: Path, scratch: Path, *, suffixes: tuple[str, ...]) -> list[tuple[Path, str]]:
    """The plain files behind ``path`` with names to show: itself, the content of a .gz, the members of a .zip.

    Raises
    ------
    InputError
        The archive is damaged, or holds no file with one of ``suffixes``.
    """
    try:
        if path.suffix == ".gz":
            target = scratch / f"{len(list(scratch.iterdir()))}-{path.stem}"
            with gzip.open(path) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, CHUNK)
            return [(target, path.name)]
        if path.suffix == ".zip":
            return _unzip(path, scratch, suffixes)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise InputError(f'"{path.name}" is a damaged archive: {error}. Copy or export it again.') from error
    return [(path, path.name)]


def _unzip(path: Path, scratch: Path, suffixes: tuple[str, ...]) -> list[tuple[Path, str]]:
    found = []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or not info.filename.endswith(suffixes):
                continue
            target = scratch / f"{len(list(scratch.iterdir()))}-member"  # never the archive's own path
            with archive.open(info) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, CHUNK)
            found.append((target, f"{path.name}/{info.filename}"))
    if not found:
        raise InputError(f'"{path.name}" holds no file that ends in {" or ".join(suffixes)}.')
    return found


def inspect(path: Path, name: str, *, encoding: str | None, scratch: Path) -> Text:
    """Find out how a text is encoded (unless declared), whether all of it is readable, and how many lines it has."""
    refuse_empty(path)
    chosen = encoding or _guess(path)
    whole = True
    if "16" in chosen or "32" in chosen:  # their line ends are not one byte
        path, whole = _narrow(path, chosen, scratch)
        chosen = "utf-8"
    clean, count = _scan(path, chosen)
    return Text(path=path, name=name, encoding=chosen, guessed=encoding is None, clean=clean and whole, lines=count)


def _narrow(path: Path, encoding: str, scratch: Path) -> tuple[Path, bool]:
    target = scratch / f"{len(list(scratch.iterdir()))}-narrow"
    whole = True
    with path.open(encoding=encoding, errors="tradewind", newline="") as file, target.open("w", encoding="utf-8", newline="") as plain:
        while piece := file.read(CHUNK):
            whole = whole and BROKEN not in piece
            plain.write(piece)
    return target, whole


def _guess(path: Path) -> str:
    """UTF-8 when it is, or mostly is; else GB 18030 when that yields Chinese; else Latin-1 when that yields letters."""
    with path.open("rb") as file:
        head = file.read(4)
    for bom, encoding in BOMS:
        if head.startswith(bom):
            return encoding
    import numpy as np

    broken = high = 0
    sample = bytearray()
    for chunk in _chunks(path):
        sample += chunk[: CHUNK - len(sample)]
        if not chunk.isascii():
            text = codecs.getincrementaldecoder("utf-8")("tradewind").decode(chunk, final=False)
            broken += text.count(BROKEN)
            high += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) > 127))
        if broken > ENOUGH_BROKEN:
            break
    if broken == 0 or broken * 4 < high:
        return "utf-8"
    if _chinese(bytes(sample)):
        return "gb18030"
    letters = [byte for byte in sample if byte > 127]
    odd = sum(byte < 0xA0 or byte >= 0xFE for byte in letters)  # control codes and letters that hardly any language has
    return "utf-8" if odd * 5 > len(letters) else "latin-1"


def _chinese(sample: bytes) -> bool:
    text = codecs.getincrementaldecoder("gb18030")("replace").decode(sample, final=False)
    other = [char for char in text if char > "\x7f"]
    ours = sum("\u4e00" <= char <= "\u9fff" or "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uffef" for char in other)
    return ours > 0.8 * len(other)


def _chunks(path: Path) -> Iterator[bytes]:
    """Pieces that end at a line's end where there is one, so that no character is cut in two."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk if chunk.endswith(b"\n") else chunk + file.readline(CHUNK)


def _scan(path: Path, encoding: str) -> tuple[bool, int]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    lines = length = 0
    clean = True
    last = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            last = chunk
            lines += chunk.count(b"\n")
            if clean:
                clean, length = _plain(decoder, chunk, length)
    if clean:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            clean = False
    return clean, lines + (not last.endswith(b"\n"))


def _plain(decoder: codecs.IncrementalDecoder, chunk: bytes, length: int) -> tuple[bool, int]:
    """Whether the next piece is text of sane lines; ``length`` counts the bytes since the last line's end."""
    if b"\0" in chunk:
        return False, length
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError:
        return False, length
    ends = chunk.rfind(b"\n")
    length = length + len(chunk) if ends < 0 else len(chunk) - ends - 1
    return length <= MAX_LINE, length


def as_utf8(text: Text, scratch: Path) -> Path:
    """A file of the same text in UTF-8 without mark; ``text`` must be clean."""
    if text.encoding in ("utf-8", "utf8", "ascii"):
        return text.path
    target = scratch / f"{len(list(scratch.iterdir()))}-utf8"
    with text.path.open(encoding=text.encoding, newline="") as file, target.open("w", encoding="utf-8", newline="") as plain:
        while piece := file.read(CHUNK):
            plain.write(piece)
    return target


def lines(text: Text) -> Iterator[tuple[int, str, str | None]]:
    """Each physical line with its number and, when it is unreadable, why; such a line is cut to a thousand characters."""
    decode = codecs.getdecoder("utf-8" if text.encoding == "utf-8-sig" else text.encoding)
    number = 0
    with text.path.open("rb") as file:
        if text.encoding == "utf-8-sig":
            file.read(len(codecs.BOM_UTF8))
        while raw := file.readline(MAX_LINE):
            number += 1
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                length = len(raw) + _skip(file)
                yield number, decode(raw[:KEPT], "tradewind")[0], f"the line has {length:,} bytes; at most {MAX_LINE:,} are read"
                continue
            decoded = decode(raw, "tradewind")[0]
            if BROKEN in decoded:
                yield number, decoded.replace(BROKEN, "")[:KEPT], f"bytes that are no {text.encoding} text"
            elif "\0" in decoded:
                yield number, decoded.replace("\0", "\\0")[:KEPT], "a NUL byte"
            else:
                yield number, decoded, None


def _skip(file: object) -> int:
    """Read on to the line's end; the bytes that were passed over."""
    passed = 0
    while piece := file.readline(MAX_LINE):  # type: ignore[attr-defined]
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed
