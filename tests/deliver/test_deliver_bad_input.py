"""What a channel is given that it should not be: headers in names, odd addresses, hostile words, servers that stall or lie."""

from __future__ import annotations

import email
import email.policy
import html.parser
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from deliver_http import certificate, server_context
from deliver_kit import KEY, START, Clock, Listening, message, people, queue, row, states

from tradewind.compose.base import UNSUBSCRIBE, Brief
from tradewind.compose.facts import Storefront, gather
from tradewind.compose.writing import write
from tradewind.deliver.channels.base import Uncertain
from tradewind.deliver.channels.smtp import Server, Smtp
from tradewind.deliver.deliver import deliver
from tradewind.deliver.links import Links
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError, Terminal, Transient

LINKS = Links("https://shop.example/t", KEY)
ADDRESS = "ann@mail.example"


class Raw:
    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.original_content, policy=email.policy.default))
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, Raw]]:
    raw = Raw()
    running = Listening(raw, hostname="127.0.0.1", port=0)
    running.start()
    yield running.port, raw
    running.stop()


def posted(
    server: tuple[int, Raw], *, address: str = ADDRESS, sender: str = "Harbour <news@harbour.example>", **parts: str
) -> EmailMessage:
    item = message("ann", parts={"subject": "Hello", "body": "Words", **parts})
    with Smtp(Server("127.0.0.1", server[0], tls="none", timeout=5), sender=sender, links=LINKS) as smtp:
        smtp.send(item, address=address, at=START)
    return server[1].mails[-1]


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\n ", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x7f"])
def test_a_subject_or_a_name_cannot_begin_a_header(server: tuple[int, Raw], end: str) -> None:
    before = len(server[1].mails)
    evil = f"Sale{end}Bcc: eve@evil.example"
    with pytest.raises(Terminal, match="control character"):
        posted(server, subject=evil)
    with pytest.raises((InputError, Terminal)):
        posted(server, sender=f'"Harbour{end}Bcc: eve@evil.example" <news@harbour.example>')
    assert len(server[1].mails) == before


def test_words_that_look_like_an_encoding_stay_words(server: tuple[int, Raw]) -> None:
    for subject in (
        "=?utf-8?q?=0D=0ABcc:_eve=40evil.example?=",
        "=?utf-8?b?SGk=?=",
        "a =?x?= b",
        " lead and trail ",
        "\u202eeLaS",
        "\U0001f381" * 30,
    ):
        mail = posted(server, subject=subject)
        assert str(mail["Subject"]).strip() == subject.strip()
        assert mail["Bcc"] is None


def test_an_endless_subject_is_folded_and_whole(server: tuple[int, Raw]) -> None:
    for subject in ("\u4e2d" * 5_000, "a" * 5_000, "word " * 1_000):
        assert str(posted(server, subject=subject)["Subject"]).strip() == subject.strip()
        raw = server[1].mails[-1].as_bytes(policy=email.policy.SMTP.clone(max_line_length=None))
        assert max(len(line) for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")) <= 998


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "recipient"),
    [
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@stra\u00dfe.example", "ann@xn--strae-oqa.example"),  # not strasse.example, which is somebody else
        ("ann@\u4e2d\u6587.example", "ann@xn--fiq228c.example"),
        ("ann@mail\u3002example", "ann@mail.example"),
        ("a.b+c_d-e'f!#$%&*/=?^`{|}~@mail.example", "a.b+c_d-e'f!#$%&*/=?^`{|}~@mail.example"),
        ("-rf@mail.example", "-rf@mail.example"),
        ("Ann@MAIL.example", "Ann@mail.example"),
    ],
)
def test_odd_addresses_arrive(server: tuple[int, Raw], address: str, recipient: str) -> None:
    posted(server, address=address)
    assert server[1].recipients[-1] == recipient


@pytest.mark.parametrize(
    "address",
    ["ann@-mail.example", "ann@mail..example", "ann@mail.example.", "ann@.example", "ann@[127.0.0.1]", "ann@" + "a" * 64 + ".example",
     "ann@" + "a." * 130 + "example", "ann@xn--\u4e2d.example", "ann@\u200d.example", "\u00e4nn@mail.example", '"ann lee"@mail.example',
     "ann(home)@mail.example", "ann@mail.example>", "ann@mail.example,bob@mail.example", "ann@mail.example\n", "ann@a_b.example"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_being_repeated(server: tuple[int, Raw], address: str) -> None:
    with pytest.raises(Terminal) as caught:
        posted(server, address=address)
    assert address not in str(caught.value)


# -- words ------------------------------------------------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "title",
    [
        "<script>alert(1)</script> Mug",
        'Mug" onmouseover="alert(1)',
        "<img src=x onerror=alert(1)>",
        "</title><svg/onload=alert(1)>",
        "Mug {{unsubscribe_url}}",
        "{title} {price} {0} {self.__class__}",
        "Mug {% for x in y %}",
        "${jndi:ldap://x.example/a}",
        "&lt;b&gt; &amp; Mug",
        "Mug\r\nBcc: eve@evil.example",
    ],
)
def test_a_hostile_title_stays_words_in_html_and_in_text(server: tuple[int, Raw], title: str) -> None:
    item = {"item": "mug", "title": title, "title_en": title, "category": "Home", "price": 1295, "currency": "GBP", "stock": 9}
    store = Storefront("Harbour", "GBP", "https://shop.example/p/{item}")
    facts = gather(item, offer=None, store=store, locale="en", zone=None, at=START)
    text = write(Brief("d" * 64, "email", "en"), facts=facts, seed=1, at=START)
    assert text.withheld is None
    item_message = message("ann", parts=dict(text.parts))
    with Smtp(Server("127.0.0.1", server[0], tls="none", timeout=5), sender="a@harbour.example", links=LINKS) as smtp:
        smtp.send(item_message, address=ADDRESS, at=START)
    mail = server[1].mails[-1]
    page, plain = mail.get_body(("html",)), mail.get_body(("plain",))
    assert page is not None
    assert plain is not None
    for tag, attributes in Tags(page.get_content()).found:
        assert tag not in ("script", "img", "svg", "iframe", "object")
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "https://shop.example/").startswith("https://shop.example/")
    url = LINKS.unsubscribe(item_message)
    assert plain.get_content().count(url) == 1
    assert UNSUBSCRIBE not in plain.get_content() + page.get_content()
    assert mail["Bcc"] is None


def test_a_text_cannot_end_its_mail(server: tuple[int, Raw]) -> None:
    """SMTP smuggling: no line end of whatever kind and no dot ends the text early."""
    before = len(server[1].mails)
    for end in ("\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n\x00.\r\n"):
        posted(server, body=f"one{end}MAIL FROM:<eve@evil.example>{end}two")
    assert len(server[1].mails) == before + 6
    assert set(server[1].recipients[-6:]) == {ADDRESS}


# -- servers ----------------------------------------------------------------------------------------------------------


def scripted(talk: Callable[[socket.socket], None]) -> tuple[int, threading.Thread]:
    """A server of one connection that says what it is told."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listening:
            line, _ = listening.accept()
            with line:
                try:
                    talk(line)
                except OSError:
                    return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return listening.getsockname()[1], thread


def polite(line: socket.socket) -> None:
    """Everything up to the text."""
    line.sendall(b"220 hi\r\n")
    reader = line.makefile("rb")
    while not (said := reader.readline()).upper().startswith(b"DATA"):
        if not said:
            return
        line.sendall(b"250 ok\r\n")
    line.sendall(b"354 go\r\n")


def drip(line: socket.socket) -> None:
    for byte in b"250-" + b"x" * 2_000:
        line.sendall(bytes([byte]))
        threading.Event().wait(0.02)


def ends(line: socket.socket) -> None:
    polite(line)
    line.recv(10)


def lies(line: socket.socket) -> None:
    polite(line)
    line.recv(65_536)
    line.sendall(b"what?\r\n")


def late(line: socket.socket) -> None:
    polite(line)
    line.recv(65_536)
    drip(line)


@pytest.mark.parametrize(("talk", "error"), [(drip, Transient), (ends, Uncertain), (lies, Uncertain), (late, Uncertain)])
def test_a_server_that_drips_ends_or_lies(talk: Callable[[socket.socket], None], error: type[Exception]) -> None:
    port, thread = scripted(talk)
    smtp = Smtp(Server("127.0.0.1", port, tls="none", timeout=0.4), sender="a@harbour.example", links=LINKS)
    with pytest.raises(error):
        smtp.send(message("ann"), address=ADDRESS, at=START)
    smtp.close()
    thread.join(10)
    assert not thread.is_alive()


def test_an_expired_certificate_stops_the_run_before_any_word(home: Home, tmp_path: Path) -> None:
    files = certificate(tmp_path, valid=False)
    raw = Raw()
    for options, tls in (({"tls_context": server_context(files)}, "starttls"), ({"ssl_context": server_context(files)}, "implicit")):
        running = Listening(raw, hostname="127.0.0.1", port=0, **options)
        running.start()
        people(home, [tls])
        (name,) = queue(home, [message(tls)])
        trust = ssl.create_default_context(cafile=str(files[0]))
        smtp = Smtp(Server("127.0.0.1", running.port, tls=tls, context=trust, timeout=5), sender="a@harbour.example", links=LINKS)
        with pytest.raises(StateError, match="expired"):
            deliver(home, channels={"email": smtp}, now=Clock())
        assert (states(home)[name], row(home, name)["attempts"]) == ("ready", 0)
        running.stop()
    assert raw.mails == []
