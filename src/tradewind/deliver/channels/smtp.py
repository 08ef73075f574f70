"""E-mail over SMTP (RFC 5321): one connection, one message at a time, one-click unsubscribe (RFC 8058), signed (DKIM, RFC 6376).

SMTP knows no idempotency key: a connection that breaks between the end of the text and the answer leaves nobody the wiser,
and the message is reported as uncertain. Every answer before that point is certain.
RFC 8058 asks for a DKIM signature over the unsubscribe headers: this channel makes it when it has a key; without one, the mail
server that it talks to has to sign.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import getaddresses
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import idna

from tradewind.collect.vault import Vault
from tradewind.deliver.channels import _mime
from tradewind.deliver.channels._dkim import Dkim
from tradewind.deliver.channels._http import Timed
from tradewind.deliver.channels._settings import Section, secret, section
from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.feedback_refs import Returns
from tradewind.deliver.links import Links, links_base
from tradewind.errors import InputError, StateError, Terminal, Transient
from tradewind.types import Message, Receipt

if TYPE_CHECKING:
    from tradewind.engine.home import Home

TLS = ("starttls", "implicit", "none")
_BROKEN = (smtplib.SMTPServerDisconnected, OSError)  # OSError covers time-outs and resets
_STAGES = (("sender", (250,)), ("recipient", (250, 251)), ("text", (354,)))  # what is asked of the server before the text


@dataclass(frozen=True)
class Server:
    """Where mail is handed in. ``tls``: "starttls" and "implicit" verify the certificate; "none" is for loopback only."""

    host: str
    port: int = 587
    tls: str = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = 30.0  # seconds per answer
    context: ssl.SSLContext | None = field(default=None, repr=False)  # None: the system's certificates

    @classmethod
    def parse(cls, url: str) -> Server:
        """Read ``smtp://`` (STARTTLS), ``smtps://`` (implicit TLS) or, on loopback, ``smtp+plain://`` user:password@host:port."""
        parts = urlsplit(url)
        known = {"smtp": ("starttls", 587), "smtps": ("implicit", 465), "smtp+plain": ("none", 25)}
        try:
            (tls, usual), port = known[parts.scheme], parts.port
        except (KeyError, ValueError):
            tls, usual, port = "", 0, None
        if not tls or not parts.hostname:
            # The text may hold a password, so it is not shown.
            raise InputError('The SMTP server must be a URL such as "smtp://user:password@mail.example:587"; smtps:// is implicit TLS.')
        user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
        return cls(parts.hostname, port or usual, tls=tls, user=user, password=password)

    def check(self) -> None:
        """Raise InputError for a value that is not allowed."""
        if self.tls not in TLS:
            raise InputError(f'Server: tls must be one of {", ".join(TLS)}; got "{self.tls}".')
        if self.tls == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise InputError(f'Server: tls="none" would send addresses in clear text to {self.host}. Use "starttls" or "implicit".')


class Smtp(Channel):
    """Send e-mail through ``server`` as ``sender``, for example ``"Harbour <news@harbour.example>"``.

    ``links`` makes the unsubscribe link of every message, ``returns`` the references that bounces come back with, ``dkim``
    the signature. The connection is reused until the server ends it.
    """

    carries = ("email",)

    def __init__(self, server: Server, *, sender: str, links: Links, returns: Returns | None = None, dkim: Dkim | None = None) -> None:
        self.server = server
        self.sender = sender
        self.links = links
        self.returns = returns
        self.dkim = dkim
        self._smtp: smtplib.SMTP | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._coming: deque[tuple[Message, str | None, Future[tuple[str, str, bytes]]]] = deque(maxlen=2)

    def __repr__(self) -> str:
        return f"Smtp({self.server!r}, sender={self.sender!r})"

    @classmethod
    def configured(cls, home: Home, environment: Mapping[str, str]) -> Self:
        """From ``TRADEWIND_SMTP`` (a URL, see :meth:`Server.parse`), ``TRADEWIND_SENDER``, ``TRADEWIND_LINKS`` (https) and ``[smtp]``."""
        table = section(home, "smtp") or Section("channels.toml, [smtp]", {})
        named = table.get("sender", str, None)
        given = {
            "TRADEWIND_SMTP": _server(table, environment),
            "TRADEWIND_SENDER": environment.get("TRADEWIND_SENDER") or named,
            "TRADEWIND_LINKS": environment.get("TRADEWIND_LINKS") or links_base(home),
        }
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise InputError(
                f"The channel smtp needs {', '.join(missing)} in the environment: "
                'for example TRADEWIND_SMTP="smtp://user:password@mail.example:587", TRADEWIND_SENDER="Harbour <news@harbour.example>", '
                'TRADEWIND_LINKS="https://harbour.example/t".'
            )
        sender, base = str(given["TRADEWIND_SENDER"]), str(given["TRADEWIND_LINKS"])
        returns = Returns(Vault(home).key("returns"), table.get("returns", str, None))
        dkim = _dkim(table.table("dkim"), home)
        table.end()
        return cls(Server.parse(str(given["TRADEWIND_SMTP"])), sender=sender, links=Links.of(home, base), returns=returns, dkim=dkim)

    @property
    def provider(self) -> str:
        """Host and port."""
        return f"smtp {self.server.host}:{self.server.port}"

    def ahead(self, message: Message, *, address: str | None, at: datetime) -> None:
        """Build and sign the next message in a thread, while the server answers for this one: a signature costs half a millisecond."""
        if self.dkim is not None:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="smtp")
            self._coming.append((message, address, self._pool.submit(self._built, message, address, at)))

    def send(self, message: Message, *, address: str | None, at: datetime) -> Receipt:
        """Hand one e-mail to the server; see :class:`Channel` for what is raised."""
        built = next((each for known, to, each in self._coming if known is message and to == address), None)
        sender, recipient, data = built.result() if built is not None else self._built(message, address, at)
        smtp = self._ready(sender, recipient)
        try:
            smtp.send(data)
            code, answer = smtp.getreply()
        except (*_BROKEN, smtplib.SMTPResponseException) as error:
            self.close()
            raise Uncertain(f"the connection broke after the text ({type(error).__name__})") from None
        if not 200 <= code < 300:
            if not 400 <= code < 600:
                self._drop()
                raise Uncertain("the server's answer to the text is none that SMTP knows")
            raise self._refused(code, "text")
        return accepted(message, at=at, provider_id=_plain(answer))

    def close(self) -> None:
        """End the connection; nothing is raised when the server is gone already."""
        smtp, self._smtp = self._smtp, None
        pool, self._pool = self._pool, None
        self._coming.clear()
        if pool is not None:
            pool.shutdown()
        if smtp is not None:
            try:
                smtp.quit()
            except (smtplib.SMTPException, OSError):
                smtp.close()

    # -- the conversation --------------------------------------------------------------------------------------------

    def _ready(self, sender: str, recipient: str) -> smtplib.SMTP:
        """A connection on which the server waits for the text; a stale one is replaced once."""
        reused = self._smtp is not None
        smtp = self._smtp or self._connect()
        codes: list[int] = []
        try:
            _say(smtp, (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"), codes)
        except (*_BROKEN, smtplib.SMTPResponseException) as error:
            self._drop()
            if reused and not codes:
                return self._ready(sender, recipient)
            raise Transient(f"the connection broke before the text ({type(error).__name__})") from None
        if codes[0] == 421 and reused:  # the server ended an old connection
            self._drop()
            return self._ready(sender, recipient)
        what, code = next(((what, code) for (what, good), code in zip(_STAGES, codes, strict=False) if code not in good), ("", 0))
        if not what:
            return smtp
        self._reset(smtp, waits=codes[-1] == 354)
        if what == "sender" and 500 <= code < 600:
            raise StateError(f"{self.provider} refuses mail from {sender} ({code}). Correct the sender or the log-in, then deliver again.")
        raise self._refused(code, what)

    def _reset(self, smtp: smtplib.SMTP, *, waits: bool) -> None:
        """Make the connection fit for the next message; a server that ``waits`` for a text without a recipient gets an empty one."""
        try:
            if waits:
                smtp.send(b".\r\n")
                smtp.getreply()
            smtp.rset()
        except (*_BROKEN, smtplib.SMTPResponseException):
            self._drop()

    def _connect(self) -> smtplib.SMTP:
        server = self.server
        server.check()
        where = f"{server.host}:{server.port}"
        context = server.context or ssl.create_default_context()
        try:
            if server.tls == "implicit":
                smtp: smtplib.SMTP = _PatientSsl(server.host, server.port, timeout=server.timeout, context=context)
            else:
                smtp = _Patient(server.host, server.port, timeout=server.timeout)
            self._smtp = smtp
            smtp.ehlo_or_helo_if_needed()
            if server.tls == "starttls":
                smtp.starttls(context=context)
                smtp.ehlo_or_helo_if_needed()  # the server forgot who we are
            if server.user is not None:
                smtp.login(server.user, server.password or "")
        except ssl.SSLCertVerificationError as error:
            self._drop()
            raise StateError(
                f"The certificate of {where} is not valid: {error.verify_message}. Renew it, or name the right host."
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            self._drop()
            raise StateError(f"{where} refused user and password ({error.smtp_code}). Correct them, then deliver again.") from None
        except smtplib.SMTPNotSupportedError as error:
            self._drop()
            raise StateError(f"{where}: {error} Nothing is sent without it; choose another port or another server.") from None
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            raise Transient(f"{where} cannot be reached ({type(error).__name__})") from None
        return smtp

    def _refused(self, code: int, what: str) -> Terminal | Transient:
        # The server's words may repeat the address, so only its code is kept.
        if code == 421 or not 200 <= code < 600:  # it ends the connection, or nobody knows what it is talking about
            self._drop()
        if 500 <= code < 600:
            return Terminal(f"the server refused the {what} for good ({code})")
        return Transient(f"the server refused the {what} for now ({code})")

    def _drop(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            smtp.close()

    # -- the text ----------------------------------------------------------------------------------------------------

    @cached_property
    def _from(self) -> tuple[str, str]:
        """The header ``From`` and the bare address of the sender."""
        mailboxes = getaddresses([self.sender]) if self.sender.isprintable() else []
        name, address = mailboxes[0] if len(mailboxes) == 1 else ("", None)
        try:
            found = _mailbox(address)
            if self.dkim is not None and not f".{found.rpartition('@')[2]}".endswith(f".{self.dkim.domain}"):
                raise InputError(
                    f"Smtp: DKIM signs as {self.dkim.domain}, which is not the domain of the sender {self.sender!r}. DMARC needs it."
                )
            return (f"{_mime.words(name) if not name.isascii() else _quoted(name)} <{found}>" if name else found), found
        except Terminal:
            raise InputError(f'Smtp: sender must be one mailbox such as "Harbour <news@harbour.example>"; got {self.sender!r}.') from None

    def _built(self, message: Message, address: str | None, at: datetime) -> tuple[str, str, bytes]:
        """Envelope sender, recipient, and the bytes after DATA."""
        recipient = _mailbox(address)
        shown, sender = self._from
        data = _mime.stuffed(self._text(message, shown, sender, recipient, at))
        return (self.returns and self.returns.sender(message.message_id)) or sender, recipient, data

    def _text(self, message: Message, shown: str, sender: str, recipient: str, at: datetime) -> bytes:
        url = self.links.unsubscribe(message)
        parts = self.links.fill(message, at=at).parts
        if "subject" not in parts or "body" not in parts:
            raise Terminal(f"an e-mail needs the parts subject and body; got {', '.join(sorted(parts))}")
        headers = (
            ("From", shown),
            ("To", recipient),
            ("Subject", _mime.words(parts["subject"])),
            ("Date", _mime.date(at)),
            ("Message-ID", self._message_id(message.message_id, domain=sender.rpartition("@")[2])),
            ("Content-Language", message.locale),
            ("List-Unsubscribe", f"<{url}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        )
        whole = _mime.mail(headers, text=parts["body"], html=parts.get("html") or None, key=message.message_id)
        return self.dkim.sign(whole, at=at) if self.dkim else whole

    def _message_id(self, message_id: str, *, domain: str) -> str:
        if self.returns is not None:
            return self.returns.message_id(message_id, domain=domain)
        return f"<{re.sub(r'[^A-Za-z0-9._-]', '-', message_id)}@{domain}>"


class _Patient(smtplib.SMTP):
    """Waits ``timeout`` seconds for a whole answer, not for each byte of one: a server could drip for ever."""

    _timed: Timed | None = None

    def getreply(self) -> tuple[int, bytes]:
        """The next answer of the server."""
        if self.file is None and self.sock is not None:  # a new connection, or a new line after STARTTLS
            self._timed = Timed(self.sock, 0.0)
            self.file = self._timed.makefile("rb")
        if self._timed is not None:
            self._timed.deadline = monotonic() + self.timeout
        return super().getreply()


class _PatientSsl(_Patient, smtplib.SMTP_SSL):
    pass


def _say(smtp: smtplib.SMTP, commands: Sequence[str], codes: list[int]) -> None:
    """Give commands and enter the server's ``codes``: all at once where it takes them so (RFC 2920), else up to the first refusal."""
    if smtp.has_extn("pipelining"):
        smtp.send("".join(f"{command}\r\n" for command in commands).encode("ascii"))
        codes.extend(smtp.getreply()[0] for _ in commands)
        return
    for command, (_, good) in zip(commands, _STAGES, strict=True):
        codes.append(smtp.docmd(command)[0])
        if codes[-1] not in good:
            return


def _server(table: Section, environment: Mapping[str, str]) -> str | None:
    """The address of the mail server: the environment's, else the file's with its password from the environment."""
    url: str | None = table.get("server", str, None)
    name: str | None = table.get("password_env", str, None)
    if environment.get("TRADEWIND_SMTP") or url is None:
        return environment.get("TRADEWIND_SMTP")
    parts = urlsplit(url)
    if parts.password is not None:
        raise InputError(f"{table.where}: server holds a password. Put it into an environment variable and name that in password_env.")
    if name is None:
        return url
    word = quote(secret(environment, name, where=table.where), safe="")
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{word}@{parts.netloc.rpartition('@')[2]}"))


def _dkim(table: Section | None, home: Home) -> Dkim | None:
    if table is None:
        return None
    domain, selector, path = (table.get(name, str) for name in ("domain", "selector", "key"))
    table.end()
    return Dkim.read(home.root / path, domain=domain, selector=selector)


def _mailbox(address: str | None) -> str:
    """One bare mailbox, safe to put into a command and a header."""
    if (
        not address
        or len(address) > 254
        or not re.fullmatch(r"[^\s@<>()\[\]\\,;:\"\x00-\x1f\x7f]+@[^\s@<>()\[\]\\,;:\"\x00-\x1f\x7f]+", address)
    ):
        raise Terminal("the contact is not one e-mail address")
    local, _, domain = address.rpartition("@")
    try:  # IDNA 2008: the encoding in Python's library is older, and leads some names to other people's domains
        domain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        raise Terminal("the contact's domain is not valid") from None
    if not re.fullmatch(
        r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*", domain
    ):
        raise Terminal("the contact's domain is not valid")
    if not local.isascii():
        raise Terminal("the contact's name before the @ is not ASCII, which this channel cannot send to")
    return f"{local}@{domain}"


def _quoted(name: str) -> str:
    if not name.isprintable():
        raise Terminal("the sender's name holds a control character")
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def _plain(answer: bytes) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", answer.decode("ascii", "replace"))[:255]


PLUGIN = Smtp
