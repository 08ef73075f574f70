"""DKIM signatures (RFC 6376; RFC 8463 for Ed25519), relaxed/relaxed, over messages that this package wrote.

Signed by OpenSSL through ``cryptography``, because a signature in pure Python takes milliseconds and is made once per message.
The unsubscribe headers are among the signed ones, which RFC 8058 asks for; a header that a forger could add a second time is
named once more than it occurs, so that adding one breaks the signature (RFC 6376, 8.15).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tradewind.errors import InputError
from tradewind.types import micros

ONCE = ("from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post", "content-type")
ALSO = ("content-language", "mime-version", "content-transfer-encoding")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_RSA_BITS = 2048  # RFC 8301: shorter ones should not be used any more


@dataclass(frozen=True)
class Dkim:
    """Signs as ``domain`` with the key whose public half stands at ``<selector>._domainkey.<domain>`` in the DNS."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @classmethod
    def read(cls, path: Path, *, domain: str, selector: str) -> Dkim:
        """Take the private key from a PEM file that only its owner can read.

        Raises
        ------
        InputError
            A name is no DNS name; the file cannot be read, is open to others, or holds no RSA key of 2048 bits or more and no Ed25519 key.
        """
        for what, name in (("domain", domain), ("selector", selector)):
            if not _NAME.fullmatch(name) or len(name) > 253:
                raise InputError(f'DKIM: {what} must be a DNS name in lower case such as "harbour.example"; got "{name}".')
        try:
            data, mode = path.read_bytes(), path.stat().st_mode
        except OSError as error:
            raise InputError(f"DKIM: the key {path} cannot be read: {error.strerror}. Name a PEM file.") from None
        if mode & 0o077:
            raise InputError(f"DKIM: the key {path} is open to other users. Run: chmod 600 {path}")
        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise InputError(f"DKIM: {path} holds no unencrypted private key in PEM: {error}. Make one with openssl genpkey.") from None
        if isinstance(key, Ed25519PrivateKey) or (isinstance(key, RSAPrivateKey) and key.key_size >= _RSA_BITS):
            return cls(domain, selector, key)
        raise InputError(f"DKIM: {path} must hold an RSA key of {_RSA_BITS} bits or more, or an Ed25519 key.")

    def sign(self, message: bytes, *, at: datetime) -> bytes:
        """The message (CRLF line ends, headers that are not repeated) with its signature in front."""
        head, _, body = message.partition(b"\r\n\r\n")
        headers = dict(_split(line) for line in re.split(rb"\r\n(?![ \t])", head))
        names = [name for name in (*ONCE, *ALSO) if name in headers]
        digest = base64.b64encode(hashlib.sha256(_body(body)).digest()).decode()
        tags = {
            "v": "1",
            "a": self._algorithm,
            "c": "relaxed/relaxed",
            "d": self.domain,
            "s": self.selector,
            "t": str(micros(at) // 1_000_000),
            "h": ":".join([*names, *(name for name in ONCE if name in names)]),
            "bh": digest,
            "b": "",
        }
        unsigned = "DKIM-Signature: " + "; ".join(f"{name}={value}" for name, value in tags.items())
        relaxed = [b"%s:%s\r\n" % (name.encode(), headers[name]) for name in names]  # the second naming of each adds nothing
        name, value = _split(unsigned.encode())
        told = b"".join([*relaxed, b"%s:%s" % (name.encode(), value)])
        mark = base64.b64encode(self._signed(told)).decode()
        folded = unsigned.replace("; h=", ";\r\n\th=").replace("; bh=", ";\r\n\tbh=").replace("; b=", ";\r\n\tb=")
        return (folded + "\r\n\t".join(mark[i : i + 72] for i in range(0, len(mark), 72))).encode() + b"\r\n" + message

    def record(self) -> str:
        """The TXT record that receivers look up at ``<selector>._domainkey.<domain>``."""
        public = self.key.public_key()
        if isinstance(self.key, Ed25519PrivateKey):
            data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k={self._algorithm.partition('-')[0]}; p={base64.b64encode(data).decode()}"

    @cached_property
    def _algorithm(self) -> str:
        return "ed25519-sha256" if isinstance(self.key, Ed25519PrivateKey) else "rsa-sha256"

    def _signed(self, data: bytes) -> bytes:
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(hashlib.sha256(data).digest())
        return self.key.sign(data, PKCS1v15(), hashes.SHA256())


def _split(line: bytes) -> tuple[str, bytes]:
    """Name and value of a header in relaxed form (RFC 6376, 3.4.2)."""
    name, _, value = line.partition(b":")
    return name.strip().lower().decode("ascii"), _narrow(value.replace(b"\r\n", b"")).strip()


def _body(body: bytes) -> bytes:
    """The body in relaxed form (RFC 6376, 3.4.4)."""
    lines = _narrow(body).replace(b" \r\n", b"\r\n")
    while lines.endswith(b"\r\n"):
        lines = lines[:-2]
    return lines + b"\r\n" if lines else b""


def _narrow(data: bytes) -> bytes:
    """Every run of blanks and tabs as one blank; the single blanks, which are nearly all, are left alone because that is faster."""
    return re.sub(rb"[ \t]{2,}|\t", b" ", data) if b"  " in data or b"\t" in data else data
