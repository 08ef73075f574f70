"""DKIM signatures, judged by a verifier that is not ours, of what a real SMTP server received."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from deliver_kit import KEY, START, Listening, message

from tradewind.deliver.channels._dkim import Dkim
from tradewind.deliver.channels.smtp import Server, Smtp
from tradewind.deliver.feedback_refs import Returns
from tradewind.deliver.links import Links
from tradewind.engine.home import Home
from tradewind.errors import InputError

RETURNS = Returns(KEY, "bounces@harbour.example")


class Raw:
    """Keeps the bytes and the envelope sender of each mail."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.senders: list[str] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802
        self.taken.append(envelope.original_content)  # type: ignore[attr-defined]
        self.senders.append(envelope.mail_from)  # type: ignore[attr-defined]
        return "250 OK"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, Raw]]:
    raw = Raw()
    running = Listening(raw, hostname="127.0.0.1", port=0)
    running.start()
    yield running.port, raw
    running.stop()


def written(path: Path, key: PrivateKeyTypes, *, mode: int = 0o600) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {
        "rsa": written(folder / "rsa.pem", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "ed25519": written(folder / "ed.pem", ed25519.Ed25519PrivateKey.generate()),
        "short": written(folder / "short.pem", rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        "other": written(folder / "ec.pem", ec.generate_private_key(ec.SECP256R1())),
        "open": written(folder / "open.pem", ed25519.Ed25519PrivateKey.generate(), mode=0o644),
    }


def dns(signer: Dkim) -> Callable[..., bytes]:
    """The DNS of the test: one name with the signer's record."""
    return lambda name, timeout=5: signer.record().encode() if name == b"s1._domainkey.harbour.example." else b""


def sent(server: tuple[int, Raw], signer: Dkim, **parts: str) -> bytes:
    port, raw = server
    links = Links("https://shop.example/t", KEY)
    item = message("ann", parts={"subject": "Hello", "body": "Words  with \t blanks \n\n{{unsubscribe_url}}\n\n\n", **parts})
    with Smtp(Server("127.0.0.1", port, tls="none"), sender="news@harbour.example", links=links, returns=RETURNS, dkim=signer) as smtp:
        smtp.send(item, address="ann@mail.example", at=START)
    return raw.taken[-1]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"html": "<p>a</p>\n.dot"},
        {"subject": "\u4e09\u6708\u65b0\u54c1\uff0c\u9650\u65f6\u4f18\u60e0" * 8, "body": "\u4e2d" * 400},
        {"body": ""},
        {"body": "\n\n"},
    ],
    ids=["plain", "html", "chinese", "empty", "blank"],
)
def test_another_verifier_accepts_the_signature(server: tuple[int, Raw], keys: dict[str, Path], kind: str, parts: dict[str, str]) -> None:
    signer = Dkim.read(keys[kind], domain="harbour.example", selector="s1")
    data = sent(server, signer, **parts)
    assert dkim.verify(data, dnsfunc=dns(signer))
    signed = re.search(rb"h=([^;]+);", data)
    assert signed is not None
    names = signed[1].decode().split(":")
    assert {"from", "subject", "list-unsubscribe", "list-unsubscribe-post"} <= set(names)  # RFC 8058


def test_whatever_is_changed_or_added_breaks_it(server: tuple[int, Raw], keys: dict[str, Path]) -> None:
    signer = Dkim.read(keys["rsa"], domain="harbour.example", selector="s1")
    data = sent(server, signer)
    assert dkim.verify(data, dnsfunc=dns(signer))
    for old, new in [
        (b"Subject: Hello", b"Subject: Hallo"),
        (b"One-Click", b"One-Clack"),
        (b"List-Unsubscribe: <https://shop.example", b"List-Unsubscribe: <https://evil.example"),
        (b"Words", b"Wards"),
    ]:
        assert old in data
        assert not dkim.verify(data.replace(old, new, 1), dnsfunc=dns(signer))
    for header in (b"From: x@evil.example", b"Subject: other", b"List-Unsubscribe: <https://evil.example>"):
        assert not dkim.verify(header + b"\r\n" + data, dnsfunc=dns(signer))


def test_the_envelope_sender_and_the_message_id_carry_genuine_references(server: tuple[int, Raw], keys: dict[str, Path]) -> None:
    sent(server, Dkim.read(keys["ed25519"], domain="harbour.example", selector="s1"))
    sender, name = server[1].senders[-1], message("ann").message_id
    assert sender == RETURNS.sender(name)
    assert [(one.message_id, one.whole) for one in RETURNS.genuine(sender)] == [(name[:24], False)]
    assert len(sender.partition("@")[0]) <= 64


def test_keys_that_should_not_sign_are_refused(keys: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_bytes(b"-----BEGIN NOTHING-----\n")
    (tmp_path / "none.pem").chmod(0o600)
    for path, why in [
        (keys["short"], "2048 bits"),
        (keys["other"], "RSA key"),
        (keys["open"], "chmod 600"),
        (tmp_path / "none.pem", "PEM"),
        (tmp_path / "missing.pem", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=why):
            Dkim.read(path, domain="harbour.example", selector="s1")
    for domain, selector in [("harbour.example; d=x", "s1"), ("Harbour.example", "s1"), ("harbour.example", "s 1"), ("", "s1")]:
        with pytest.raises(InputError, match="DNS name"):
            Dkim.read(keys["rsa"], domain=domain, selector=selector)


def test_a_signature_of_another_domain_than_the_senders_is_refused(keys: dict[str, Path]) -> None:
    signer = Dkim.read(keys["ed25519"], domain="other.example", selector="s1")
    smtp = Smtp(Server("127.0.0.1", 9, tls="none"), sender="a@harbour.example", links=Links("https://s.example", KEY), dkim=signer)
    with pytest.raises(InputError, match=r"other\.example"):
        smtp.send(message("ann"), address="ann@mail.example", at=START)
    assert base64.b64encode(KEY).decode() not in repr(smtp)


def test_a_whole_smtp_table(home: Home, keys: dict[str, Path], server: tuple[int, Raw]) -> None:
    (home.root / "keys").mkdir(exist_ok=True)
    (home.root / "keys" / "dkim.pem").write_bytes(keys["rsa"].read_bytes())
    (home.root / "keys" / "dkim.pem").chmod(0o600)
    (home.root / "channels.toml").write_text(
        f'[smtp]\nserver = "smtp+plain://127.0.0.1:{server[0]}"\nsender = "Harbour <news@harbour.example>"\n'
        'returns = "bounces@harbour.example"\n'
        '[smtp.dkim]\ndomain = "harbour.example"\nselector = "s1"\nkey = "keys/dkim.pem"\n'
        '[links]\nbase = "https://shop.example/t"\nhosts = ["shop.example"]\ntrack = true\nutm = "harbour"\n'
    )
    with Smtp.configured(home, {}) as smtp:
        smtp.send(message("ann"), address="ann@mail.example", at=START)
    assert smtp.dkim is not None
    assert dkim.verify(server[1].taken[-1], dnsfunc=dns(smtp.dkim))
    assert server[1].senders[-1].startswith("bounces+")
    text = (home.root / "channels.toml").read_text()
    for old, new, why in [
        ("returns =", "retruns =", 'Did you mean "returns"'),
        ('sender = "Harbour <news@harbour.example>"', "sender = 3", "must be a text"),
        ("track = true", 'track = "yes"', "true or false"),
        ("smtp+plain://", "smtp+plain://me:word@", "holds a password"),
        ("[smtp]", "[smtp", "not valid TOML"),
    ]:
        (home.root / "channels.toml").write_text(text.replace(old, new))
        with pytest.raises(InputError, match=why) as caught:
            Smtp.configured(home, {})
        assert "word@" not in str(caught.value)
