"""One HTTP request at a time to one address that a shop set up, with an honest word on whether it arrived.

What is certain: until the last byte of a request has left, the other side cannot have taken it (``Transient``); from then on, only its
answer tells (``Uncertain`` without one). Names are looked up once per connection and every address that comes back is checked, and
the checked one is connected to: a name that leads into the shop's own network is refused, also when the DNS changes its mind. Redirects are
not followed, proxies from the environment are not used, and an exchange ends after ``timeout`` seconds however slowly it drips.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tradewind.deliver.channels.base import Later, Uncertain
from tradewind.errors import InputError, StateError, Terminal, Transient

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

LARGEST = 1 << 16  # bytes of an answer that are read
UNICAST = ipaddress.ip_network("2000::/3")  # all that IANA has given out for the public internet
IDLE = 4.0  # seconds after which a connection is not used again: the other side may be closing it
LATER = (408, 425, 429, 503)  # certainly not taken, try again
REFUSED = (401, 403, 407)  # the shop's credentials


@dataclass(frozen=True)
class Endpoint:
    """An https address. ``private``: it may lie in a private network (then http is allowed on loopback). ``timeout``: seconds in all."""

    url: str = field(repr=False)  # it may hold a token
    timeout: float = 10.0
    private: bool = False
    context: ssl.SSLContext | None = field(default=None, repr=False)  # None: the system's certificates

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            raise InputError("The address of a gateway is not valid. Write it as https://api.provider.example/v1/messages.") from None
        plain = self.private and parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if (
            not (parts.scheme == "https" or plain)
            or not parts.hostname
            or not self.url.isascii()
            or not self.url.isprintable()
            or " " in self.url
        ):
            # It may hold a secret, so it is not shown.
            raise InputError(
                "The address of a gateway must begin with https:// and be plain ASCII; http:// is for loopback with private = true."
            )
        if parts.username is not None or parts.password is not None or port == 0:
            raise InputError("The address of a gateway holds no user or password. Put secrets into environment variables and name those.")
        if not 0.1 <= self.timeout <= 300:
            raise InputError(f"The timeout of a gateway is 0.1 to 300 seconds; got {self.timeout!r}.")

    @property
    def host(self) -> str:
        """Host and port, for people and as the provider's name."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and the first bytes of the body; ``whole``: nothing of it is missing. ``after``: seconds that it asks to wait."""

    status: int
    body: bytes = field(repr=False)
    whole: bool
    after: float | None = None

    def later(self, text: str) -> Transient:
        """The error for an answer that says: not now."""
        return Transient(text) if self.after is None else Later(f"{text}, in {self.after:g} s", seconds=self.after)


class Client:
    """Posts to one endpoint over a connection that is kept while it lasts."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request and return the answer, whatever its status.

        Raises
        ------
        Transient
            It has certainly not arrived.
        Uncertain
            It was sent, and no answer came.
        StateError
            The address leads where it must not, or its certificate is not valid.
        """
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise Terminal(f"the header {name} of this request is not allowed")
        connection = self._ready(monotonic() + self.endpoint.timeout)
        parts = urlsplit(self.endpoint.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", target, body=body, headers=dict(headers))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Transient(f"{self.endpoint.host}: the connection broke before the request was sent ({type(error).__name__})") from None
        try:
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Uncertain(f"{self.endpoint.host} gave no answer to the request ({type(error).__name__})") from None
        try:
            data = response.read(LARGEST + 1)
            whole = len(data) <= LARGEST
        except http.client.IncompleteRead as error:
            data, whole = error.partial, False
        except (OSError, http.client.HTTPException):
            data, whole = b"", False
        if response.will_close or not whole:
            self.close()
        self._used = monotonic()
        return Answer(response.status, data[:LARGEST], whole, _after(response))

    def close(self) -> None:
        """End the connection; safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ready(self, deadline: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is not None and (monotonic() - self._used > IDLE or _ended(connection)):
            self.close()
            connection = None
        if connection is None:
            connection = self._connection = self._connect(deadline)
        assert isinstance(connection.sock, Timed), "made below"
        connection.sock.deadline = deadline
        return connection

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        parts, where = urlsplit(self.endpoint.url), self.endpoint.host
        host, port = parts.hostname or "", int(where.rpartition(":")[2])
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Transient(f"{where}: the name cannot be looked up ({type(error).__name__})") from None
        if not self.endpoint.private:
            for _family, _type, _proto, _name, address in found:
                _public(str(address[0]), where)
        last: OSError | None = None
        for family, kind, proto, _name, address in found:
            sock = socket.socket(family, kind, proto)
            try:
                sock.settimeout(max(0.05, deadline - monotonic()))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if parts.scheme == "https":
                    context = self.endpoint.context or ssl.create_default_context()
                    sock = context.wrap_socket(sock, server_hostname=host)
            except ssl.SSLCertVerificationError as error:
                sock.close()
                raise StateError(
                    f"The certificate of {where} is not valid: {error.verify_message}. Renew it, or name the right host."
                ) from None
            except OSError as error:
                sock.close()
                last = error
                continue
            connection = http.client.HTTPConnection(host, port)
            connection.sock = Timed(sock, deadline)
            return connection
        raise Transient(f"{where} cannot be reached ({type(last).__name__})") from None


class Timed:
    """A socket whose reads and writes end at ``deadline``, however many there are."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline
        self.readers = 0
        self._closed = False

    def left(self) -> float:
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self.left())
        self.sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        self.readers += 1
        return io.BufferedReader(_Reading(self))

    def close(self, *, reader: bool = False) -> None:
        # http.client closes the connection first and reads the rest of the answer then.
        self.readers -= reader
        self._closed = self._closed or not reader
        if self._closed and not self.readers:
            self.sock.close()


class _Reading(io.RawIOBase):
    def __init__(self, timed: Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._timed.close(reader=True)

    def readinto(self, buffer: Buffer) -> int:
        self._timed.sock.settimeout(self._timed.left())
        return self._timed.sock.recv_into(buffer)


def _after(response: http.client.HTTPResponse) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3). A date in it is read against the answer's own ``Date``: clocks differ."""
    told = (response.getheader("Retry-After") or "").strip()
    if re.fullmatch("[0-9]{1,9}", told):
        return float(told)
    try:
        wait = parsedate_to_datetime(told) - parsedate_to_datetime(response.getheader("Date") or "")
    except (TypeError, ValueError):
        return None
    return max(0.0, wait.total_seconds())


def _ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side closed an idle connection (or said something that nobody asked for)."""
    timed = connection.sock
    return not isinstance(timed, Timed) or bool(select.select([timed.sock], [], [], 0)[0])


def _public(text: str, where: str) -> None:
    """Refuse an address that is not on the public internet: loopback, private, link-local, metadata services, multicast."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address not in UNICAST:
            address = ipaddress.IPv6Address("::1")  # site-local, IPv4-compatible, local NAT64 and the like: none of them is the internet
        address = inner or address
    if not address.is_global or address.is_multicast:
        raise StateError(
            f"{where} leads to a private address, which a channel does not talk to. If it is meant, set private = true in channels.toml."
        )
