"""Files and settings: whole or absent, right or refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tradewind.engine import files
from tradewind.engine.settings import NAME, Settings, load
from tradewind.errors import InputError, NotFound

GOOD = Settings(name="harbour", salt="0123456789abcdef", currency="CNY", zone="Asia/Shanghai", margin=0.3)


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in (b"old", b"new" * 1_000, b""):
        files.atomic_write(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]
    assert files.sha256_file(path) == hashlib.sha256(b"").hexdigest()


def test_a_failed_write_keeps_the_old_bytes(tmp_path: Path) -> None:
    (tmp_path / "folder" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.atomic_write(tmp_path / "folder", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_create_once_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert files.create_once(path, b"first")
    assert not files.create_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_settings_survive_their_file(tmp_path: Path) -> None:
    for settings in (GOOD, Settings(name="a", salt="f" * 64)):
        settings.save(tmp_path)
        assert load(tmp_path) == settings
    assert GOOD.create(tmp_path) == Settings(name="a", salt="f" * 64), "who was first stays"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"currency": "yuan"}, "ISO 4217"),
        ({"currency": 7}, "ISO 4217"),
        ({"zone": "Shanghai"}, 'IANA time zone .* got "Shanghai"'),
        ({"zone": "/etc/passwd"}, "IANA time zone"),
        ({"zone": "Europe"}, "IANA time zone"),
        ({"margin": 1.5}, "margin must be a number from 0 to 1"),
        ({"margin": True}, "margin must be a number"),
        ({"salt": "XYZ"}, "16 to 64 hexadecimal digits"),
        ({"name": ""}, '"name" must be a text'),
    ],
)
def test_wrong_settings_say_what_is_allowed(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(GOOD, **values).save(tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'a'\nsalt = ", "is not valid TOML"),
        ("name = 'a'\nsalt = '0123456789abcdef'\ncurency = 'EUR'", 'unknown setting "curency". Did you mean "currency"'),
        ("name = 'a'", 'has no "salt"'),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_no_file_is_no_shop(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no shop"):
        load(tmp_path)
