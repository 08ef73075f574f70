"""The settings in docs/channels.md are good ones: every block is read as a shop's file and its channel set up from it."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from deliver_kit import KEY

from tradewind import plugins
from tradewind.deliver.channels.push import Push
from tradewind.deliver.channels.sms import Sms
from tradewind.deliver.channels.smtp import Smtp
from tradewind.deliver.channels.webhook import Webhook
from tradewind.deliver.feedback_receipts import Reading
from tradewind.deliver.links import Links, links_base
from tradewind.engine.home import Home

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "channels.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
WORD = "whsec_" + base64.b64encode(KEY).decode()
ENVIRONMENT = {
    "MAIL_PASSWORD": "p@ss word", "HOOK_NEW": WORD, "HOOK_OLD": WORD, "SANDPIPER_TOKEN": "t", "SANDPIPER_HOOK": WORD, "DUNLIN_SECRET": "t",
}  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: next(iter(tomllib.loads(block))))
def test_a_block_of_the_document_sets_its_channel_up(block: str, home: Home) -> None:
    (home.root / "channels.toml").write_text(block)
    (home.root / "keys").mkdir(exist_ok=True)
    key = home.root / "keys" / "dkim.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    for name in tomllib.loads(block):
        if name == "links":
            links = Links.of(home, links_base(home) or "")
            assert links.base == "https://harbour.example/t"
            continue
        made = plugins.load("deliver.channels", name).configured(home, ENVIRONMENT)
        if name == "smtp":
            assert isinstance(made, Smtp)
            assert made.server.password == "p@ss word"
            assert made.dkim is not None
        elif name == "webhook":
            assert isinstance(made, Webhook)
            assert made.idempotent
        elif name == "sms":
            assert isinstance(made, Sms)
            assert made.idempotent
            assert Reading.of(home, "sms", ENVIRONMENT).meaning == {
                "DELIVERED": "delivered",
                "ABSENT": "hard",
                "OFF": "soft",
                "STOP": "optout",
            }
        else:
            assert isinstance(made, Push)
            assert made.vendor.vendor == "xiaomi"


def test_the_document_speaks_of_every_channel() -> None:
    for name in plugins.names("deliver.channels"):
        assert f"`{name}`" in TEXT
