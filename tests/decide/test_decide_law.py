"""The law profiles: complete, sourced, and asked the same questions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tradewind.collect.consent_acts import BASES, CONTACTS, USES
from tradewind.compose.base import UNSUBSCRIBE
from tradewind.compose.guard import Guard
from tradewind.decide.law import DUTIES, contact_hours, fault, law, laws, of_locale, pack
from tradewind.errors import InputError, NotFound

LAWS = ("CN", "EU", "US")


@pytest.mark.parametrize("code", LAWS)
def test_every_profile_is_complete_and_names_its_sources(code: str) -> None:
    found = law(code)
    assert set(found.told) == {"name", "regions", "basis", "hours", "text", "duties"}
    for channel in (*CONTACTS, *USES):
        needed = found.basis(channel)
        assert needed.any_of
        assert set(needed.any_of) <= set(BASES)
        assert {"consent", "double_opt_in"} <= set(needed.any_of), "a person's own word is always enough"
    sources: list[str] = [row["source"] for table in ("basis", "hours", "text") for row in found.told[table].values()]
    sources += [found.duty(name) for name in DUTIES]
    assert set(found.told["duties"]) == set(DUTIES)
    for source in sources:
        assert re.search(r"art\. \w|\d+ (USC|CFR)|Code|No (hours|statute|federal)", source), source


@pytest.mark.parametrize("code", LAWS)
def test_hours_lie_within_a_day_and_law_is_told_from_practice(code: str) -> None:
    for channel in CONTACTS:
        hours = law(code).hours(channel)
        assert hours is None or 0 <= hours.start < hours.end <= 24
        assert contact_hours(code, channel) == (None if hours is None else (hours.start, hours.end))
    sms = law(code).hours("sms")
    assert sms is not None
    assert sms.practice == (code != "US"), "only 47 CFR 64.1200 (c) (1) sets hours"


def test_an_unknown_place_gets_the_hours_that_suit_all() -> None:
    assert contact_hours("US", "sms") == (8, 21)
    assert contact_hours("DE", "sms") == contact_hours("EU", "sms")
    assert contact_hours(None, "sms") == contact_hours("BR", "sms") == (8, 21)
    assert contact_hours(None, "email") is None


def test_what_each_law_asks_before_the_first_message() -> None:
    opt_in = {code: {channel for channel in (*CONTACTS, *USES) if law(code).basis(channel).opt_in} for code in LAWS}
    assert opt_in == {"CN": {"email", "sms", "push", "ads"}, "EU": {"email", "sms", "push", "ads"}, "US": {"sms"}}
    assert fault("US", "email", "legitimate_interest") == ""
    assert fault("DE", "email", "soft_opt_in") == ""
    assert '"soft_opt_in" is no basis for sms in CN (Provisions' in fault("CN", "sms", "soft_opt_in")
    assert "Ask the customer first" in fault("EU", "email", "assumed")
    assert fault("US", "inapp", "assumed") == ""


def test_what_each_law_wants_to_read() -> None:
    assert {code: law(code).sender("email").what for code in LAWS} == {  # type: ignore[union-attr]
        "CN": ("name", "contact"),
        "EU": ("name", "address", "contact"),
        "US": ("name", "address"),
    }
    assert all(law(code).opt_out(channel) for code in LAWS for channel in ("email", "sms"))
    assert law("CN").mark("email").what[0] == "AD"  # type: ignore[union-attr]
    assert law("EU").mark("email") is None
    assert law("US").sender("inapp") is law("US").sender("source") is None


@pytest.mark.parametrize("code", LAWS)
def test_a_pack_of_the_law_stops_a_text_without_its_sender(code: str, tmp_path: Path) -> None:
    sender = {"name": "Harbour Tea", "address": "1 Quay Street, Bristol", "contact": "help@harbour.example"}
    (tmp_path / "law.toml").write_text(pack(code, sender), encoding="utf-8")
    guard = Guard(own=tmp_path)
    block = " ".join([sender[part] for part in law(code).sender("email").what])  # type: ignore[union-attr]
    mark = (law(code).mark("email") or law(code).sender("email")).what[:1]  # type: ignore[union-attr]
    whole = {"subject": f"Tea ({'AD' if mark == ('AD',) else 'new'})", "preheader": "New teas", "body": f"A cup. {block} {UNSUBSCRIBE}"}

    def said(parts: dict[str, str]) -> set[str]:
        return {verdict.rule for verdict in guard.check(parts, facts=None, locale="en", channel="email") if verdict.rule.startswith("law.")}

    assert said(whole) == set()
    for part in law(code).sender("email").what:  # type: ignore[union-attr]
        assert said({**whole, "body": whole["body"].replace(sender[part], "")}) == {f"law.sender_{part}_email"}
    assert said({**whole, "subject": "Tea"}) == ({"law.mark"} if code == "CN" else set())
    with pytest.raises(InputError, match="asks for the sender's"):
        pack(code, {"name": "Harbour"})


@pytest.mark.parametrize(
    ("tag", "code"),
    [("zh-CN", "CN"), ("zh-Hans-CN", "CN"), ("de-DE", "EU"), ("en-US", "US"), ("en_US", "US"), ("en", None), ("pt-BR", None), (None, None)],
)
def test_a_language_tag_names_the_place_or_none(tag: str | None, code: str | None) -> None:
    found = of_locale(tag)
    assert (found.code if found else None) == code


def test_no_country_has_two_laws_and_unknown_names_are_refused() -> None:
    regions = [region for one in laws().values() for region in one.regions]
    assert len(regions) == len(set(regions))
    assert len(law("EU").regions) == 27
    with pytest.raises(NotFound, match='no law profile "Mars"'):
        law("Mars")
    with pytest.raises(NotFound, match='no channel or use in the law of CN "fax"'):
        law("CN").basis("fax")
    with pytest.raises(NotFound, match='no duty "love"'):
        law("CN").duty("love")
