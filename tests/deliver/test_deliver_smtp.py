"""The SMTP channel against a real SMTP server on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import email
import email.policy
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography.hazmat.primitives.asymmetric import ed25519
from deliver_kit import KEY, START, Clock, message, people, queue, row, states
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind.deliver import rules
from tradewind.deliver.channels._dkim import Dkim
from tradewind.deliver.channels.base import Uncertain
from tradewind.deliver.channels.smtp import Server, Smtp
from tradewind.deliver.deliver import channel, deliver
from tradewind.deliver.links import Links
from tradewind.deliver.rules import Rules
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError, Terminal, Transient
from tradewind.types import Message

LINKS = Links("https://shop.example/t", KEY)
ADDRESS = "ann@mail.example"


class Post:
    """A handler that keeps what it took and answers as it is told. ``rcpt`` and ``data`` are answers; "drop" cuts the line."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[str] = []
        self.peers: set[Any] = set()
        self.rcpt: list[str] = []
        self.data: list[str] = []
        self.extensions: list[str] = []

    async def handle_EHLO(self, server: SMTP, session: Any, envelope: Any, hostname: str, responses: list[str]) -> list[str]:  # noqa: N802
        session.host_name = hostname
        return [responses[0], *(f"250-{name}" for name in self.extensions), *responses[1:]]

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        self.peers.add(session.peer)
        answer = self.rcpt.pop(0) if self.rcpt else "250 OK"
        if answer == "drop":
            server.transport.abort()
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = self.data.pop(0) if self.data else "250 2.0.0 queued as Q1"
        if answer.startswith("250") or answer == "drop":
            self.taken.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            self.raw.append(envelope.original_content)
            self.recipients += envelope.rcpt_tos
        if answer == "drop":
            server.transport.abort()
            await asyncio.sleep(0)
        return answer


class Running(Controller):  # type: ignore[misc]
    """aiosmtpd on a free port of loopback."""

    def __init__(self, handler: Post, **options: Any) -> None:
        super().__init__(handler, hostname="127.0.0.1", port=0, **options)

    def _trigger_server(self) -> None:  # the port is known only once it listens
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def start(post: Post) -> Iterator[Callable[..., int]]:
    """Start a server with options, return its port."""
    running: list[Running] = []

    def begin(**options: Any) -> int:
        controller = Running(post, **options)
        controller.start()
        running.append(controller)
        return int(controller.port)

    yield begin
    for controller in running:
        controller.stop()


@pytest.fixture(params=["one by one", "pipelined"])
def smtp(start: Callable[..., int], post: Post, request: pytest.FixtureRequest) -> Iterator[Smtp]:
    post.extensions = ["PIPELINING"] if request.param == "pipelined" else []
    with Smtp(Server("127.0.0.1", start(), tls="none", timeout=5), sender="Harbour <news@harbour.example>", links=LINKS) as sender:
        yield sender


def send(smtp: Smtp, item: Message | None = None, address: str | None = ADDRESS) -> str:
    return smtp.send(item or message("ann"), address=address, at=START).state


def test_an_email_carries_text_html_and_one_click_unsubscribe(smtp: Smtp, post: Post) -> None:
    item = message(
        "ann",
        parts={
            "subject": "\u4e09\u6708\u65b0\u54c1",
            "body": ".dot\nline\n{{unsubscribe_url}}",
            "html": '<a href="{{unsubscribe_url}}">x</a>',
        },
    )
    receipt = smtp.send(item, address=ADDRESS, at=START)
    assert receipt.state == "accepted"
    assert receipt.provider_id == "2.0.0 queued as Q1"
    (mail,) = post.taken
    assert post.recipients == [ADDRESS]
    assert mail["Subject"] == "\u4e09\u6708\u65b0\u54c1"
    assert mail["From"] == "Harbour <news@harbour.example>"
    assert mail["Message-ID"] == f"<{item.message_id}@harbour.example>"
    url = LINKS.unsubscribe(item)
    assert mail["List-Unsubscribe"] == f"<{url}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().splitlines() == [".dot", "line", url]
    assert f'<a href="{url}">' in html.get_content()
    assert LINKS.verify(url.rpartition("/")[2], purpose="unsubscribe").decision_id == item.decision_id


def test_long_headers_are_whole_on_the_wire(smtp: Smtp, post: Post) -> None:
    """Mail clients do not put an address together that was cut into encoded words or lines."""
    item, address = message("a" * 200), f"{'n' * 64}@{'m' * 60}.{'x' * 60}.example"
    send(smtp, item, address)
    head = post.raw[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert f"List-Unsubscribe: <{LINKS.unsubscribe(item)}>" in head
    assert any(line.strip() in (f"To: {address}", address) for line in head)
    assert max(map(len, head)) <= 998


def test_one_connection_serves_many_messages(smtp: Smtp, post: Post) -> None:
    for step in "123":
        send(smtp, message("ann", step=step))
    assert len(post.taken) == 3
    assert len(post.peers) == 1


@pytest.mark.parametrize(("answer", "error"), [("450 busy", Transient), ("421 closing", Transient), ("550 unknown user", Terminal)])
@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_answers_are_classed_by_their_code_and_the_next_message_goes(
    smtp: Smtp, post: Post, stage: str, answer: str, error: type[Exception]
) -> None:
    getattr(post, stage).append(answer)
    with pytest.raises(error):
        send(smtp)
    assert post.taken == []
    assert send(smtp) == "accepted"


def test_a_line_that_breaks_before_the_text_is_transient_and_after_it_uncertain(smtp: Smtp, post: Post) -> None:
    post.rcpt.append("drop")
    with pytest.raises(Transient):
        send(smtp)
    assert post.taken == []
    post.data.append("drop")
    with pytest.raises(Uncertain):
        send(smtp)
    assert len(post.taken) == 1  # it did arrive: sending it again would have doubled it
    assert send(smtp) == "accepted"


def test_a_connection_that_the_server_ended_is_replaced(smtp: Smtp, post: Post) -> None:
    send(smtp)
    assert smtp._smtp is not None
    assert smtp._smtp.sock is not None
    smtp._smtp.sock.close()
    assert send(smtp) == "accepted"
    assert len(post.taken) == 2


LAX = {b"MAIL": b"250 ok", b"RCPT": b"550 nobody", b"DATA": b"354 go on", b".": b"554 no recipient"}


def test_a_server_that_waits_for_a_text_without_a_recipient_gets_none() -> None:
    """RFC 2920, 3.1: after DATA in one go, 354 may come although every recipient was refused."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heard: list[bytes] = []

        def serve() -> None:
            peer, _ = listening.accept()
            with peer, peer.makefile("rb") as lines:
                peer.sendall(b"220 lax\r\n")
                for line in lines:
                    heard.append(line.rstrip())
                    answer = b"250-lax\r\n250 PIPELINING" if line.startswith(b"ehlo") else LAX.get(line.rstrip()[:4], b"250 ok")
                    peer.sendall(answer + b"\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        server = Server("127.0.0.1", listening.getsockname()[1], tls="none", timeout=5)
        with Smtp(server, sender="news@harbour.example", links=LINKS) as smtp:
            for _ in range(2):
                with pytest.raises(Terminal, match="recipient"):
                    send(smtp)
        thread.join(5)
    asked = [b"MAIL", b"RCPT", b"DATA", b".", b"rset"]
    assert [line[:4] for line in heard[1:]] == [*asked, *asked, b"quit"]


@pytest.mark.parametrize("extension", ["PIPELINING", "X-NONE"])
def test_what_is_built_ahead_is_what_is_sent(start: Callable[..., int], post: Post, extension: str) -> None:
    post.extensions = [extension]
    key = ed25519.Ed25519PrivateKey.generate()
    server = Server("127.0.0.1", start(), tls="none", timeout=5)
    first, second, third = (message("ann", step=step) for step in "123")
    with Smtp(server, sender="news@harbour.example", links=LINKS, dkim=Dkim("harbour.example", "s1", key)) as smtp:
        smtp.ahead(second, address=ADDRESS, at=START)
        send(smtp, first)
        smtp.ahead(third, address="bob@mail.example", at=START)
        send(smtp, second)
        smtp.ahead(first, address="a@b@c", at=START)
        send(smtp, third)  # to another address than was foreseen: built anew
        with pytest.raises(Terminal):
            send(smtp, first, address="a@b@c")
    alone = list(post.raw)
    assert [mail["Subject"] for mail in post.taken] == ["Hello 1", "Hello 2", "Hello 3"]
    assert post.recipients == [ADDRESS] * 3
    with Smtp(server, sender="news@harbour.example", links=LINKS, dkim=Dkim("harbour.example", "s1", key)) as smtp:
        for item in (first, second, third):
            send(smtp, item)
    assert post.raw[3:] == alone, "the same bytes, whoever built them"


def test_nobody_listens() -> None:
    smtp = Smtp(Server("127.0.0.1", 9, tls="none"), sender="news@harbour.example", links=LINKS)
    with pytest.raises(Transient, match="cannot be reached"):
        send(smtp)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "a@b@c",
        "ann@mail.example, bob@mail.example",
        "ann@mail.example\r\nRCPT TO:<x@y.example>",
        "<ann@mail.example>",
        "\u4e2d@mail.example",
        None,
    ],
)
def test_only_one_plain_mailbox_is_a_recipient(smtp: Smtp, post: Post, address: str | None) -> None:
    with pytest.raises(Terminal) as caught:
        send(smtp, address=address)
    assert post.taken == []
    assert not address or address not in str(caught.value)


LINES = st.lists(st.sampled_from(["\r\n", "\n", "\r", "\u2028", "Bcc: x@y.example", ".", "\u4e2d", "a" * 80, " ", "\x00"]), max_size=6).map(
    "".join
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    subject=st.text(max_size=40),
    body=st.text(max_size=60),
    ident=st.text(min_size=1, max_size=20),
    locale=st.sampled_from(["en", "en\r\nBcc: x@y.example"]),
)
def test_no_value_can_add_a_header_or_a_recipient(smtp: Smtp, post: Post, subject: str, body: str, ident: str, locale: str) -> None:
    post.taken.clear()
    post.recipients.clear()
    item = dataclasses.replace(message("ann", parts={"subject": subject, "body": body}), message_id=ident, locale=locale)
    try:
        send(smtp, item)
    except Terminal:
        assert post.taken == []
        return
    (mail,) = post.taken
    assert post.recipients == [ADDRESS]
    allowed = {"From", "To", "Subject", "Date", "Message-ID", "Content-Language", "List-Unsubscribe", "List-Unsubscribe-Post"}
    allowed |= {"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "X-Peer", "X-MailFrom", "X-RcptTo"}
    assert set(mail.keys()) <= allowed
    assert len(mail.keys()) == len(set(mail.keys()))
    assert mail["To"] == ADDRESS


def test_a_sender_is_one_mailbox() -> None:
    for sender in ("", "Harbour", "a@b.example, c@d.example", "x\r\nBcc: y@z.example"):
        with pytest.raises(InputError, match="sender"):
            send(Smtp(Server("127.0.0.1", 9, tls="none"), sender=sender, links=LINKS))


def test_clear_text_only_on_loopback_and_no_password_in_a_repr() -> None:
    with pytest.raises(InputError, match="clear text"):
        send(Smtp(Server("mail.example", tls="none"), sender="a@b.example", links=LINKS))
    server = Server.parse("smtp://me:s3cret@mail.example:2525")
    assert (server.host, server.port, server.tls, server.password) == ("mail.example", 2525, "starttls", "s3cret")
    assert "s3cret" not in repr(Smtp(server, sender="a@b.example", links=LINKS))
    with pytest.raises(InputError) as caught:
        Server.parse("http://me:s3cret@mail.example")
    assert "s3cret" not in str(caught.value)


# -- TLS and log-in -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def test_starttls_verifies_the_certificate_and_refuses_a_server_without_it(
    start: Callable[..., int], post: Post, certificate: tuple[Path, Path]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    port = start(tls_context=context, require_starttls=True)
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    with Smtp(Server("127.0.0.1", port, context=trust, timeout=5), sender="a@b.example", links=LINKS) as smtp:
        assert send(smtp) == "accepted"
    with pytest.raises(StateError, match="certificate"):
        send(Smtp(Server("127.0.0.1", port, timeout=5), sender="a@b.example", links=LINKS))
    with pytest.raises(StateError, match="STARTTLS"):
        send(Smtp(Server("127.0.0.1", start(), timeout=5), sender="a@b.example", links=LINKS))
    assert len(post.taken) == 1


def test_a_wrong_password_stops_the_run_and_costs_no_attempt(start: Callable[..., int], home: Home) -> None:
    def judge(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=False, handled=False)

    port = start(authenticator=judge, auth_require_tls=False)
    people(home, ["ann"])
    (name,) = queue(home, [message("ann")])
    smtp = Smtp(Server("127.0.0.1", port, tls="none", user="me", password="no", timeout=5), sender="a@b.example", links=LINKS)
    with pytest.raises(StateError, match="refused user and password"):
        deliver(home, channels={"email": smtp}, now=Clock())
    assert states(home) == {name: "ready"}
    assert row(home, name)["attempts"] == 0


# -- the whole way ----------------------------------------------------------------------------------------------------


def test_delivered_through_smtp_with_what_the_environment_says(start: Callable[..., int], post: Post, home: Home) -> None:
    people(home, ["ann", "bob", "cat", "dan"])
    ann, bob, cat, dan = queue(home, [message(name, send_at=START) for name in ("ann", "bob", "cat", "dan")])
    order = sorted([ann, bob, cat, dan])  # claimed by time, then id
    environment = {
        "TRADEWIND_SMTP": f"smtp+plain://127.0.0.1:{start()}",
        "TRADEWIND_SENDER": "news@harbour.example",
        "TRADEWIND_LINKS": "https://harbour.example/t",
    }
    post.data += ["250 first", "drop", "550 spam", "451 later"]
    clock = Clock()
    with channel(home, "smtp", environment=environment) as smtp:
        done = deliver(home, "plan-1", channels={"email": smtp}, now=clock)
        assert dict(done.counts) == {"accepted": 1, "failed": 1, "retry": 1, "unknown": 1}
        assert [states(home)[name] for name in order] == ["accepted", "unknown", "failed", "ready"]
        assert deliver(home, "plan-1", channels={"email": smtp}, now=clock).counts == {}  # not yet: it waits
        clock.forward(minutes=2)
        assert deliver(home, "plan-1", channels={"email": smtp}, now=clock).counts == {"accepted": 1}
    ids = [mail["Message-ID"].strip("<>").partition(".")[0] for mail in post.taken]  # what follows is its signature
    assert sorted(ids) == sorted([order[0], order[1], order[3]])  # the unknown one was not sent again


def test_a_server_that_is_down_ends_the_run_and_nothing_is_lost(home: Home) -> None:
    names = [f"c{number}" for number in range(12)]
    people(home, names)
    queue(home, [message(name) for name in names])
    rules.save(home, Rules(breaker=3))
    smtp = Smtp(Server("127.0.0.1", 9, tls="none"), sender="a@b.example", links=LINKS)
    done = deliver(home, channels={"email": smtp}, now=Clock())
    assert done.counts == {"retry": 3}
    assert set(states(home).values()) == {"ready"}


def test_smtp_without_settings_says_which(home: Home) -> None:
    with pytest.raises(InputError, match="TRADEWIND_SMTP, TRADEWIND_SENDER, TRADEWIND_LINKS"):
        channel(home, "smtp", environment={})
