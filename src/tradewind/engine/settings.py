"""What a shop is called, sells in and promises: the few values of ``tradewind.toml``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zoneinfo import ZoneInfo

from tradewind.engine import models
from tradewind.engine.files import atomic_write, create_once
from tradewind.errors import InputError, NotFound, did_you_mean
from tradewind.params import Number, check

NAME = "tradewind.toml"


@dataclass(frozen=True)
class Settings:
    """The settings of one shop.

    ``salt`` is made once at creation and never changes: the holdout is a hash of it, so a new salt would move
    customers between treatment and holdout.
    """

    name: str
    salt: str  # hexadecimal, at least 16 characters
    currency: str | None = None  # ISO 4217; None until the first load says it
    zone: str = "UTC"  # IANA: where the shop's days begin when a customer has no zone
    margin: float | None = None  # assumed share of the price, 0 to 1, where items have no cost
    url: str | None = None  # of the shop's site, https://...: what links in messages lead to
    simulated: bool = False  # its customers are not people; every report says so
    text_model: str = "builtin"  # who judges reviews: learn/text_encoded.py names the slots
    image_model: str = "builtin"  # who looks at pictures: "builtin" or "directory:PATH"
    images: str | None = None  # folder with a picture per item, from the shop's folder on; the catalogue may name files itself
    chat: models.ChatModel | None = None  # what the writer "chat" asks
    local: models.LocalModel | None = None  # what the writer "local" loads

    def checked(self) -> Settings:
        """Return itself when every value is allowed; raises InputError that names the value and what is allowed."""
        for key in ("name", "salt", "zone", "text_model", "image_model", *(("images",) if self.images is not None else ())):
            value = getattr(self, key)
            if not isinstance(value, str) or not value:
                raise InputError(f'Setting "{key}" must be a text that is not empty; got {value!r}.')
        if not re.fullmatch(r"[0-9a-f]{16,64}", self.salt):
            raise InputError(
                f'Setting "salt" must be 16 to 64 hexadecimal digits; got "{self.salt}". Restore the one that was made at creation.'
            )
        if self.currency is not None and not (isinstance(self.currency, str) and re.fullmatch(r"[A-Z]{3}", self.currency)):
            raise InputError(f'Setting "currency" must be an ISO 4217 code such as "CNY" or "GBP"; got {self.currency!r}.')
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError) as error:  # unknown, absolute, a folder
            raise InputError(f'Setting "zone" must be an IANA time zone such as "UTC" or "Asia/Shanghai"; got "{self.zone}".') from error
        if not isinstance(self.simulated, bool):
            raise InputError(f'Setting "simulated" must be true or false; got {self.simulated!r}.')
        if self.url is not None and not (isinstance(self.url, str) and re.fullmatch(r"https?://[^\s/]\S*", self.url)):
            raise InputError(f'Setting "url" must be an address such as "https://harbour.example"; got {self.url!r}.')
        if self.margin is not None:
            check("Settings", {"margin": self.margin}, {"margin": Number(0, 1)})
        for model in (self.chat, self.local):
            if model is not None:
                model.checked()
        return self

    def save(self, root: Path) -> None:
        """Write ``tradewind.toml`` in one step."""
        atomic_write(root / NAME, self.to_toml())

    def create(self, root: Path) -> Settings:
        """Write ``tradewind.toml`` unless there is one, and return what holds now: two processes agree on one salt."""
        return self if create_once(root / NAME, self.to_toml()) else load(root)

    def to_toml(self) -> bytes:
        """The file's bytes; what is not set is left out."""
        import tomli_w

        values = {key: _told(value) if isinstance(value, dict) else value for key, value in _told(asdict(self.checked())).items()}
        return tomli_w.dumps(values).encode()


def load(root: Path) -> Settings:
    """Read ``tradewind.toml`` of a shop's folder.

    Raises
    ------
    NotFound
        There is no such file.
    InputError
        It is no TOML, has an unknown name, or a value that is not allowed.
    """
    path = root / NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist: {root} is no shop.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}. Mend that line.") from error
    known = [field.name for field in fields(Settings)]
    for key in values:
        if key not in known:
            raise InputError(f'{path} has an unknown setting "{key}".{did_you_mean(key, known)} Known: {", ".join(known)}.')
    for key in ("name", "salt"):
        if key not in values:
            raise InputError(f'{path} has no "{key}". Restore the file from a backup: the salt decides who is in the holdout.')
    for name, kind in (("chat", models.ChatModel), ("local", models.LocalModel)):
        if name in values:
            values[name] = models.read(kind, values[name], name)
    return Settings(**values).checked()


def _told(values: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
