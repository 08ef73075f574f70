"""Who said what under which words: the history, double opt-in, the preference centre - and that each of three looks stops a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.consent_acts import GRANTED, WITHDRAWN, Act, append, history, impersonal, in_force, personal
from tradewind.collect.consent_desk import Desk
from tradewind.collect.consent_tokens import sign, verify
from tradewind.collect.vault import Vault
from tradewind.engine import ledger
from tradewind.engine.audit import entries
from tradewind.engine.books_people import consent_texts
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.types import micros

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def wait(self, **span: float) -> None:
        self.at += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(each_home: Home, clock: Clock) -> Desk:
    points = {"customer": ["ann", "bob"], "channel": ["email"] * 2, "address": ["us@mail.example", "Us@mail.example"]}
    Vault(each_home).put(pa.table(points, schema=schema.CONTACTS))
    return Desk(each_home, now=clock)


def why(home: Home, customer: str, channel: str = "email") -> str:
    with home.ledger.read() as conn:
        return Consents(home).allowed(conn, customer, channel)[1]


def test_the_history_tells_words_basis_and_proof(desk: Desk, each_home: Home, clock: Clock) -> None:
    assert desk.grant("ann", "email", source="checkout", locale="en", evidence={"form": "c7"}, jurisdiction="EU", by="person:eve")
    clock.wait(days=1)
    assert desk.withdraw("ann", "email", source="phone")
    assert not desk.withdraw("ann", "email", source="phone"), "it counts already"
    first, last = desk.history("ann")
    assert (first.status, first.purpose, first.basis, first.jurisdiction, first.at) == (GRANTED, "marketing", "consent", "EU", NOW)
    assert (first.evidence, first.text_version, last.status, last.source) == ({"form": "c7"}, "1", WITHDRAWN, "phone")
    with each_home.ledger.read() as conn:
        body = conn.execute(select(consent_texts.c.body).where(consent_texts.c.text_hash == first.text_hash)).scalar_one()
        noted = [(entry.actor, entry.action, entry.subject) for entry in entries(conn)]
    assert "shop may send me offers" in body
    assert noted == [("policy:desk", "consent.withdrawn", "customer:ann"), ("person:eve", "consent.granted", "customer:ann")]


def test_imports_without_details_stand_in_the_history_too(desk: Desk, each_home: Home) -> None:
    rows = {"customer": ["dan"], "channel": ["sms"], "granted": [True], "at": [NOW], "source": ["file"]}
    Consents(each_home).record(pa.table(rows, schema=schema.CONSENTS))
    assert [(act.channel, act.status, act.source) for act in desk.history("dan")] == [("sms", GRANTED, "file")]


def test_acts_resolve_alike_in_every_order(each_home: Home) -> None:
    """Grants and withdrawals one microsecond apart and at the same one: the latest moment counts, and there the withdrawal."""
    step = timedelta(microseconds=1)
    acts = [
        Act("x", "email", status, NOW + step * number, "t")
        for number, status in ((0, GRANTED), (0, WITHDRAWN), (1, GRANTED), (2, WITHDRAWN))
    ]
    for number, order in enumerate(permutations(acts[:3])):
        with each_home.ledger.write() as conn:
            name = f"c{number}"
            for act in order:
                append(conn, [Act(name, act.channel, act.status, act.at, act.source)], now=NOW)
            assert in_force(conn, name) == {"email": True}
            assert [(act.status, act.at) for act in history(conn, name)] == [(act.status, act.at) for act in acts[:3]]
    for number, order in enumerate(permutations(acts)):
        with each_home.ledger.write() as conn:
            append(conn, [Act(f"d{number}", act.channel, act.status, act.at, act.source) for act in order], now=NOW)
            assert in_force(conn, f"d{number}") == {"email": False}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["email", "sms", "personalisation"]), st.booleans(), st.integers(0, 3)),
        max_size=10,
    ),
    data=st.data(),
)
def test_the_state_is_a_function_of_the_set_of_acts(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, str, bool, int]], data: st.DataObject
) -> None:
    expected: dict[tuple[str, str], tuple[int, bool]] = {}
    for customer, channel, granted, at in acts:
        old = expected.get((customer, channel), (-1, True))
        expected[customer, channel] = max(old, (at, granted), key=lambda one: (one[0], not one[1]))
    with Home.open(tmp_path_factory.mktemp("s") / "shop") as home, home.ledger.write() as conn:
        for customer, channel, granted, at in data.draw(st.permutations([*acts, *acts[:3]])):
            append(conn, [Act(customer, channel, GRANTED if granted else WITHDRAWN, NOW + timedelta(microseconds=at), "t")], now=NOW)
        for (customer, channel), (_, granted) in expected.items():
            assert in_force(conn, customer)[channel] == granted
        assert impersonal(conn) == {name for (name, channel), (_, on) in expected.items() if channel == "personalisation" and not on}


def test_a_request_counts_for_nothing_until_it_is_confirmed(desk: Desk, each_home: Home, clock: Clock) -> None:
    asked = desk.request("ann", "email", locale="zh-CN", source="checkout", jurisdiction="CN")
    assert desk.requested(asked.token).state == "open"
    assert why(each_home, "ann") == "no_consent"
    assert [act.status for act in desk.history("ann")] == ["pending"]
    clock.wait(hours=1)
    done = desk.confirm(asked.token, evidence={"page": "confirm"})
    assert (done.state, done.new, why(each_home, "ann")) == ("granted", True, "")
    act = desk.history("ann")[-1]
    assert (act.status, act.basis, act.at, act.jurisdiction) == (GRANTED, "double_opt_in", NOW + timedelta(hours=1), "CN")
    assert act.evidence["address_hash"] == Vault(each_home).hash("us@mail.example")
    assert act.text_hash == asked.text.hash
    assert "mail.example" not in json.dumps([dict(one.evidence) for one in desk.history("ann")])
    assert why(each_home, "bob") == "no_consent", "an address that is shared agrees for nobody else"


def test_a_confirmation_that_is_repeated_grants_once_and_never_again(desk: Desk, each_home: Home, clock: Clock) -> None:
    asked = desk.request("ann", "email", locale="en", source="checkout")
    assert desk.confirm(asked.token).new
    clock.wait(minutes=1)
    assert not desk.confirm(asked.token).new
    desk.unsubscribe("ann", "email", decision_id="d1")
    clock.wait(minutes=1)
    assert desk.confirm(asked.token).new is False
    assert why(each_home, "ann") == "suppressed:unsubscribed"
    assert [act.status for act in desk.history("ann")] == ["pending", GRANTED, WITHDRAWN]


def test_requests_that_are_too_old_moved_or_gone_say_so(desk: Desk, each_home: Home, clock: Clock) -> None:
    old = desk.request("ann", "email", locale="en", source="checkout", days=7)
    clock.wait(days=7)
    assert desk.confirm(old.token).state == "expired"
    moved = desk.request("ann", "email", locale="en", source="checkout")
    new = {"customer": ["ann"], "channel": ["email"], "address": ["other@mail.example"]}
    Vault(each_home).put(pa.table(new, schema=schema.CONTACTS))
    assert desk.confirm(moved.token).state == "moved"
    clock.wait(hours=1)
    gone = desk.request("ann", "email", locale="en", source="checkout")
    Vault(each_home).erase("ann", now=clock())
    assert desk.confirm(gone.token).state == "gone"
    assert [act.status for act in desk.history("ann")] == ["pending"] * 3
    with pytest.raises(InputError, match="no address"):
        desk.request("cat", "email", locale="en", source="checkout")


def test_tokens_are_for_one_page_and_cannot_be_made_up(desk: Desk, each_home: Home) -> None:
    token = desk.preferences_token("ann", "email")
    assert desk.opened(token) == ("ann", "email")
    with pytest.raises(InputError, match="no valid confirm link"):
        desk.confirm(token)
    forged = [sign(b"x" * 32, "preferences", "ann", "email"), token[:-2], token.upper(), "a.b", "", "." * 9, "x" * 9_999, token + "."]
    for other in forged:
        with pytest.raises(InputError, match="no valid preferences link"):
            desk.opened(other)
    with pytest.raises(InputError, match="no valid confirm link"):
        desk.confirm(sign(Vault(each_home).key("consent"), "confirm", "f" * 32))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_changed_token_is_taken(data: st.DataObject) -> None:
    token = sign(b"k" * 32, "preferences", "ann", "email")
    at = data.draw(st.integers(0, len(token) - 1))
    other = token[:at] + data.draw(st.characters(codec="ascii")) + token[at + 1 :]
    try:
        read = verify(b"k" * 32, "preferences", other)
    except InputError:
        return
    assert read == ("ann", "email"), "base64 leaves some last bits free; what it says is the same"


def test_unsubscribing_twice_is_unsubscribing_once(desk: Desk, each_home: Home, clock: Clock) -> None:
    desk.grant("ann", "email", source="checkout")
    clock.wait(minutes=1)
    assert desk.unsubscribe("ann", "email", decision_id="d1")
    clock.wait(minutes=1)
    assert not desk.unsubscribe("ann", "email", decision_id="d1")
    assert why(each_home, "ann") == "suppressed:unsubscribed"
    assert [act.status for act in desk.history("ann")] == [GRANTED, WITHDRAWN]
    each_home.log.compact(now=clock())
    events = each_home.tables.to_arrow(each_home.tables.events()).to_pylist()
    assert [(row["kind"], row["customer"], row["channel"], row["decision_id"]) for row in events] == [("unsubscribe", "ann", "email", "d1")]


def test_who_comes_back_lifts_an_unsubscribe_for_himself_alone(desk: Desk, each_home: Home, clock: Clock) -> None:
    desk.grant("ann", "email", source="checkout")
    desk.grant("bob", "email", source="checkout")
    clock.wait(minutes=1)
    desk.unsubscribe("bob", "email", decision_id="d1")
    assert [why(each_home, name) for name in ("ann", "bob")] == ["suppressed:unsubscribed"] * 2
    clock.wait(minutes=1)
    assert desk.choose("bob", {"email": True}, locale="en", source="preferences", evidence={}) == ["email"]
    assert [why(each_home, name) for name in ("ann", "bob")] == ["withdrawn", ""]


@pytest.mark.parametrize("reason", ["complaint", "bounce", "erased"])
def test_no_page_lifts_another_suppression(desk: Desk, each_home: Home, clock: Clock, reason: str) -> None:
    Consents(each_home).suppress(Vault(each_home).hash("us@mail.example"), "email", reason, NOW)
    (email, personalisation) = desk.choices("ann")
    assert (email.on, email.fixed, personalisation.on) == (False, reason, True)
    assert desk.choose("ann", {"email": True}, locale="en", source="preferences", evidence={}) == []
    assert why(each_home, "ann") == f"suppressed:{reason}"
    with pytest.raises(InputError, match=rf"suppressed \({reason}\): nobody may write to it, nor ask"):
        desk.request("ann", "email", locale="en", source="checkout")
    assert desk.history("ann") == []


def test_a_withdrawal_beats_a_grant_that_a_wrong_clock_dated_later(desk: Desk, each_home: Home, clock: Clock) -> None:
    rows = {"customer": ["ann"], "channel": ["email"], "granted": [True], "at": [NOW + timedelta(days=9)], "source": ["file"]}
    Consents(each_home).record(pa.table(rows, schema=schema.CONSENTS))
    assert desk.unsubscribe("ann", "email", decision_id="d1")
    with each_home.ledger.read() as conn:
        assert in_force(conn, "ann") == {"email": False}
    assert not desk.unsubscribe("ann", "email", decision_id="d1")
    for _ in range(2):  # and at one moment of a clock that stands still, what is said last counts
        assert desk.choose("ann", {"email": True}, locale="en", source="page", evidence={}) == ["email"]
        assert why(each_home, "ann") == ""
        assert desk.choose("ann", {"email": False}, locale="en", source="page", evidence={}) == ["email"]
        assert why(each_home, "ann") == "suppressed:unsubscribed"
    assert desk.confirm(desk.request("ann", "email", locale="en", source="page").token).new
    assert why(each_home, "ann") == ""


def test_who_unsubscribes_after_an_imported_withdrawal_spares_the_address(desk: Desk, each_home: Home, clock: Clock) -> None:
    rows = {"customer": ["ann", "bob"], "channel": ["email"] * 2, "granted": [False, True], "at": [NOW] * 2, "source": ["file"] * 2}
    Consents(each_home).record(pa.table(rows, schema=schema.CONSENTS))
    assert [why(each_home, name) for name in ("ann", "bob")] == ["withdrawn", ""]
    desk.unsubscribe("ann", "email", decision_id="d1")
    assert why(each_home, "bob") == "suppressed:unsubscribed"


def test_choices_are_switched_one_by_one(desk: Desk, each_home: Home, clock: Clock) -> None:
    desk.grant("ann", "sms", source="checkout")
    assert {choice.channel: choice.on for choice in desk.choices("ann")} == {"email": False, "sms": True, "personalisation": True}
    clock.wait(minutes=1)
    wanted = {"email": True, "sms": True, "personalisation": False, "push": True}
    assert sorted(desk.choose("ann", wanted, locale="zh-CN", source="preferences", evidence={"page": "p"})) == ["email", "personalisation"]
    assert desk.choose("ann", wanted, locale="zh-CN", source="preferences", evidence={}) == []
    with each_home.ledger.read() as conn:
        assert not personal(conn, "ann")
        assert impersonal(conn) == {"ann"}
    assert why(each_home, "ann") == ""
    assert desk.choices("nobody") == ()
    Vault(each_home).erase("ann", now=clock())
    assert desk.choices("ann") == ()


def test_leaving_every_channel_by_an_event_says_nothing_about_the_use_of_data(desk: Desk, each_home: Home, clock: Clock) -> None:
    from tradewind.collect.withdrawals import withdraw_from_log
    from tradewind.types import Event

    desk.grant("ann", "email", source="checkout")
    desk.grant("ann", "personalisation", source="checkout")
    each_home.log.append([Event("u", NOW + timedelta(hours=1), "unsubscribe", "t", customer="ann")], now=NOW)
    each_home.log.compact(now=NOW)
    assert withdraw_from_log(each_home) == 1
    assert desk.choices("ann")[-1].on
    assert why(each_home, "ann") == "suppressed:unsubscribed"


def test_what_makes_no_sense_is_refused(desk: Desk, clock: Clock) -> None:
    for channel, message in (("fax", 'no channel or use "fax"'), ("transactional", "need no consent")):
        with pytest.raises(InputError, match=message):
            desk.grant("ann", channel, source="t")
    with pytest.raises(InputError, match='no basis of a consent "love"'):
        desk.grant("ann", "email", source="t", basis="love")
    with pytest.raises(InputError, match="lies in the future"):
        desk.grant("ann", "email", source="t", at=NOW + timedelta(days=1))
    with pytest.raises(InputError, match="customer and a source"):
        desk.grant("ann", "email", source="")
    with pytest.raises(InputError, match="text of consent in fr"):
        desk.grant("ann", "email", source="t", locale="fr")
    assert desk.history("ann") == []


def test_many_acts_of_another_system_are_entered_once_in_any_order(each_home: Home, clock: Clock) -> None:
    desk = Desk(each_home, now=clock, fault=lambda law, _channel, basis: "no" if (law, basis) == ("CN", "assumed") else "")
    step = timedelta(hours=-1)
    acts = [
        Act("x", "email", GRANTED if n % 2 else WITHDRAWN, NOW + step * n, "crm", jurisdiction="EU", evidence={"row": n}) for n in range(6)
    ]
    assert desk.record(acts[3:], by="person:ann") == 3
    assert desk.record(acts, by="person:ann") == 3
    assert desk.record(reversed(acts), by="person:ann") == 0
    assert desk.history("x") == acts[::-1]
    with each_home.ledger.read() as conn:
        assert in_force(conn, "x") == {"email": False}
        assert [entry.detail for entry in entries(conn, action="consent.recorded")] == [{"acts": 6, "new": 3}, {"acts": 3, "new": 3}]
    with pytest.raises(InputError, match='The consent of "y": no'):
        desk.record([Act("y", "sms", GRANTED, NOW, "crm", "assumed", jurisdiction="CN")], by="person:ann")
    with pytest.raises(InputError, match="lies in the future"):
        desk.record([Act("y", "sms", GRANTED, NOW - step, "crm")], by="person:ann")


def test_a_law_may_refuse_a_basis(each_home: Home, clock: Clock) -> None:
    desk = Desk(
        each_home, now=clock, fault=lambda law, channel, basis: "no" if (law, channel, basis) == ("CN", "sms", "soft_opt_in") else ""
    )
    with pytest.raises(InputError, match="no"):
        desk.grant("ann", "sms", source="t", basis="soft_opt_in", jurisdiction="CN")
    assert desk.grant("ann", "sms", source="t", basis="soft_opt_in", jurisdiction="US")


def test_a_shop_may_write_its_own_words(desk: Desk, each_home: Home) -> None:
    own = each_home.root / "consent.toml"
    own.write_text('version = "7"\n[text.marketing]\nen = "Mail me."\n', encoding="utf-8")
    desk.grant("ann", "email", source="t", locale="en")
    desk.grant("ann", "personalisation", source="t", locale="en")
    assert [act.text_version for act in desk.history("ann")] == ["7", "1"]
    own.write_text("version = 7", encoding="utf-8")
    with pytest.raises(InputError, match=r'consent\.toml needs version = "\.\.\."'):
        desk.grant("ann", "email", source="t", locale="en")


def test_a_suppression_survives_erasure_and_a_new_import(desk: Desk, each_home: Home, clock: Clock) -> None:
    desk.grant("ann", "email", source="t")
    Vault(each_home).erase("ann", now=clock())
    again = {"customer": ["new-id"], "channel": ["email"], "address": [" US@mail.example "]}
    Vault(each_home).put(pa.table(again, schema=schema.CONTACTS))
    desk.grant("new-id", "email", source="t")
    assert why(each_home, "new-id") == "suppressed:erased"


def test_the_ledger_holds_no_address(desk: Desk, each_home: Home) -> None:
    asked = desk.request("ann", "email", locale="en", source="t")
    desk.confirm(asked.token)
    with each_home.ledger.read() as conn:
        for table in ledger.metadata.sorted_tables:
            assert "mail.example" not in repr(conn.execute(select(table)).all()).lower()
    assert micros(NOW) > 0
