"""A real HTTP server on loopback that takes what it is sent and answers as it is told; and certificates made for it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Asked:
    """One request."""

    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gateway:
    """Answers each request with the next of ``answers``: a status, (status, object), raw bytes, or "drop", "hang", "drip", "cut".

    "drop" reads the request and closes; "early" closes before the body is read; "hang" says nothing; "drip" sends a byte now and
    then; "cut" promises more than it sends. Without answers left: 200 and ``{}``.
    """

    answers: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    connections: int = 0

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown(socket.SHUT_RDWR)
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in (self._server, *self._open):
            one.close()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def url(self, path: str = "/v1/messages") -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(plain)
            thread = threading.Thread(target=self._serve, args=(plain,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            line = self.context.wrap_socket(plain, server_side=True) if self.context else plain
            self._open.append(line)
            with line, line.makefile("rb") as reader:
                while self._one(line, reader):
                    pass
        except OSError:
            return

    def _one(self, line: socket.socket, reader: Any) -> bool:
        first = reader.readline().decode()
        if not first:
            return False
        headers = {}
        while text := reader.readline().decode().strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "early":
            return False
        body = reader.read(int(headers.get("content-length", 0)))
        self.asked.append(Asked(first.split()[1], headers, body))
        if answer == "drop":
            return False
        if answer == "hang":
            self._ended.wait(20)
            return False
        if answer == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000:
                line.sendall(bytes([byte]))
                if self._ended.wait(0.05):
                    break
            return False
        line.sendall(_raw(answer))
        return answer != "cut" and not isinstance(answer, bytes)


def _raw(answer: Any) -> bytes:
    if answer == "cut":
        return b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"id": '
    if isinstance(answer, bytes):
        return answer
    status, value = answer if isinstance(answer, tuple) else (answer, {})
    body = json.dumps(value).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def certificate(folder: Path, *, valid: bool = True, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """A self-signed certificate for an address of loopback and its key; one that is not ``valid`` ended yesterday."""
    folder.mkdir(parents=True, exist_ok=True)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=1 if valid else -1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def server_context(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    return context
