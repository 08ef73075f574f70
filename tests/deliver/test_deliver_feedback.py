"""Bounces and complaints: what they say, whose they are, what follows, and that forged ones and storms change nothing."""

from __future__ import annotations

import json
import mailbox
from collections.abc import Mapping
from pathlib import Path

import pytest
from deliver_kit import START, Clock, message, people, queue
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tradewind.cli import main
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.deliver import deliver
from tradewind.deliver.feedback import SOFT_LIMIT, Feedback, log
from tradewind.deliver.feedback_mail import LARGEST, Kind, parse
from tradewind.deliver.feedback_refs import Returns
from tradewind.engine.books_channels import feedback
from tradewind.engine.home import Home
from tradewind.engine.ledger import suppressions
from tradewind.errors import InputError, NotFound, Terminal

MAILBOX = "bounces@harbour.example"


def report(status: str = "5.1.1", *, to: str = MAILBOX, quoted: str = "", action: str = "failed", diagnostic: str = "") -> bytes:
    """A delivery report as mail servers write it (RFC 3464)."""
    return (
        f"From: MAILER-DAEMON@mx.example\r\nTo: {to}\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; somebody@else.example\r\nAction: {action}\r\nStatus: {status}\r\n{diagnostic}\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {quoted}\r\nSubject: Hello\r\n\r\n--b--\r\n"
    ).encode()


def complaint(quoted: str, *, kind: str = "abuse") -> bytes:
    """A complaint as mailbox providers write it (RFC 5965)."""
    return (
        "From: fbl@provider.example\r\nTo: abuse@harbour.example\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is a complaint.\r\n"
        f"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: X/1\r\nVersion: 1\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: news@harbour.example\r\nMessage-ID: {quoted}\r\n\r\nHello\r\n--b--\r\n"
    ).encode()


@pytest.fixture
def box(home: Home) -> Feedback:
    """A shop that sent ann and bob three messages each."""
    people(home, ["ann", "bob"])
    queue(home, [message(name, step=str(step)) for name in ("ann", "bob") for step in range(3)])
    deliver(home, channels=Outbox(), now=Clock())
    return Feedback(home, Returns(Vault(home).key("returns"), MAILBOX))


def named(box: Feedback, customer: str, step: str = "0") -> str:
    return box.returns.message_id(message(customer, step=step).message_id, domain="harbour.example")


def why_not(home: Home, customer: str) -> str:
    with home.ledger.read() as conn:
        return Consents(home).allowed(conn, customer, "email")[1]


def events(home: Home) -> list[Mapping[str, object]]:
    log(home, now=START)
    home.log.compact(now=START)
    rows = home.tables.to_arrow(home.tables.events()).to_pylist()
    return sorted((row for row in rows if row["kind"] != "sent"), key=lambda row: row["id"])


@pytest.mark.parametrize(
    ("status", "diagnostic", "kind"),
    [
        ("5.1.1", "", Kind.HARD),
        ("5.1.10", "", Kind.HARD),
        ("5.2.1", "", Kind.HARD),
        ("5.4.4", "", Kind.HARD),
        ("5.0.0", "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n", Kind.HARD),
        ("5.2.2", "", Kind.SOFT),  # full
        ("5.7.1", "", Kind.SOFT),  # policy: says nothing against the address
        ("5.0.0", "Diagnostic-Code: smtp; 550 5.7.26 not authenticated\r\n", Kind.SOFT),
        ("5.0.0", "Diagnostic-Code: smtp; 550 no\r\n", Kind.SOFT),
        ("4.2.2", "", Kind.SOFT),
        ("", "", Kind.SOFT),
    ],
)
def test_which_failures_are_permanent(status: str, diagnostic: str, kind: Kind) -> None:
    assert parse(report(status, diagnostic=diagnostic)).kind is kind


def test_what_is_no_failure() -> None:
    assert parse(report("4.0.0", action="delayed")).kind is Kind.DELAYED
    assert parse(report("2.0.0", action="delivered")).kind is Kind.UNKNOWN
    assert parse(complaint("<x@y>", kind="not-spam")).kind is Kind.UNKNOWN
    assert parse(b"From: ann@mail.example\r\nAuto-Submitted: auto-replied (vacation)\r\n\r\nI am away.").kind is Kind.AUTO_REPLY
    assert parse(b"From: ann@mail.example\r\nAuto-Submitted: no\r\n\r\nWhere is my parcel?").kind is Kind.UNKNOWN
    assert parse(b"").kind is Kind.UNKNOWN


def test_a_hard_bounce_suppresses_the_address_that_the_message_went_to(box: Feedback, home: Home) -> None:
    for data in (report(quoted=named(box, "ann")), report(to=str(box.returns.sender(message("ann").message_id)))):
        assert box.take(data, now=START) is Kind.HARD
    assert why_not(home, "ann") == "suppressed:hard_bounce"
    assert why_not(home, "bob") == ""  # the recipient that a report names is not believed
    decisions = {message("ann", step=step).decision_id for step in "01"}
    assert {(row["kind"], row["customer"], row["decision_id"]) for row in events(home)} == {("bounce", "ann", one) for one in decisions}
    assert json.loads(str(events(home)[0]["context"]))["class"] == "hard"


def test_a_complaint_withdraws_consent(box: Feedback, home: Home) -> None:
    assert box.take(complaint(named(box, "bob")), now=START) is Kind.COMPLAINT
    assert why_not(home, "bob") == "suppressed:complaint"
    (event,) = events(home)
    assert (event["kind"], event["customer"], event["channel"]) == ("complaint", "bob", "email")


def test_soft_bounces_of_different_messages_wear_an_address_out(box: Feedback, home: Home) -> None:
    for step in range(SOFT_LIMIT):
        assert why_not(home, "ann") == ""
        for _ in range(5):  # repeated: counts once
            box.take(report("4.2.2", quoted=named(box, "ann", str(step))), now=START)
    assert why_not(home, "ann") == "suppressed:soft_bounces"


def test_forged_reports_are_refused(box: Feedback, home: Home) -> None:
    genuine = named(box, "ann")
    verp = str(box.returns.sender(message("ann").message_id))
    strangers = Returns(bytes(32), MAILBOX)
    forged = [
        report(),
        report(quoted=f"<{message('ann').message_id}@harbour.example>"),
        report(quoted=genuine.replace(".", ".a", 1)),
        report(quoted=strangers.message_id(message("ann").message_id, domain="harbour.example")),
        report(to=verp[:-30] + "aaaa" + verp[-26:]),
        report(to=verp.replace("bounces", "bounce")),
        report(to=str(strangers.sender(message("ann").message_id))),
        report(quoted=box.returns.message_id("0" * 64, domain="harbour.example")),  # signed, but of no message that left
        complaint("<x@y.example>"),
    ]
    for data in forged:
        assert box.take(data, now=START) is Kind.UNKNOWN
    assert box.totals["forged"] == len(forged)
    assert why_not(home, "ann") == ""
    assert events(home) == []


def test_a_storm_is_idempotent(box: Feedback, home: Home, tmp_path: Path) -> None:
    genuine, forged = report(quoted=named(box, "ann")), report(quoted="<" + "0" * 64 + ".aaaaaaaaaaaaaaaa@harbour.example>")
    storm = mailbox.mbox(tmp_path / "storm")
    storm.lock()
    for number in range(400):
        storm.add(genuine if number % 2 else forged)
    storm.close()
    for turn in range(2):
        done = Feedback(home, box.returns).read(tmp_path / "storm", now=START)
        assert (done.mails, done.forged, sum(done.new.values()), done.repeated) == (400, 200, 1 - turn, 199 + turn)
        assert len(events(home)) == 1
    with home.ledger.read() as conn:
        assert conn.execute(select(func.count()).select_from(feedback)).scalar() == 1
        assert conn.execute(select(func.count()).select_from(suppressions)).scalar() == 1


def test_a_killed_reading_is_made_good_by_the_next(box: Feedback, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    data = report(quoted=named(box, "ann"))

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tradewind.deliver.feedback.insert_new", killed)
        with pytest.raises(KeyboardInterrupt):
            box.take(data, now=START)
    assert why_not(home, "ann") == "suppressed:hard_bounce"  # the person comes first
    box.take(data, now=START)
    assert [row["kind"] for row in events(home)] == ["bounce"]


def test_a_maildir_through_the_command(
    box: Feedback, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "returns"
    for name in ("new", "cur", "tmp"):
        (folder / name).mkdir(parents=True)
    for number, data in enumerate([report(quoted=named(box, "ann")), report(), b"Hello?", complaint(named(box, "bob"))]):
        (folder / "new" / f"{number}.mx").write_bytes(data)
    monkeypatch.setattr("sys.argv", ["tradewind", "feedback", "--read", str(folder), "--shop", str(home.root), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    said = json.loads(capsys.readouterr().out)
    assert (said["mails"], said["new"], said["forged"], said["suppressed"]) == (4, {"hard": 1, "complaint": 1}, 1, 2)
    assert sorted(path.name for path in (folder / "cur").iterdir()) == ["0.mx:2,S", "1.mx:2,FS", "2.mx:2,FS", "3.mx:2,S"]
    assert list((folder / "new").iterdir()) == []


def test_wrong_paths_are_named(box: Feedback, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing at"):
        box.read(tmp_path / "none", now=START)
    with pytest.raises(InputError, match="no Maildir"):
        box.read(tmp_path, now=START)
    (tmp_path / "one.eml").write_bytes(report(quoted=named(box, "ann")))
    assert box.read(tmp_path / "one.eml", now=START).new == {"hard": 1}


def test_mails_made_to_break_a_parser_are_unknown(box: Feedback) -> None:
    deep = b""
    for depth in range(3_000):
        deep += b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (depth, depth)
    endless = report().replace(b"Status:", b"X: " + b"a" * (2 * LARGEST) + b"\r\nStatus:")
    for data in (
        deep,
        endless,
        b"\x00" * 1000,
        report().replace(b"--b\r\n", b"--\xff\r\n"),
        b"Content-Type: multipart/report; report-type==?x?=\r\n\r\n",
    ):
        assert box.take(data, now=START) is Kind.UNKNOWN


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 700), st.integers(0, 700))
def test_no_bytes_make_reading_fail(junk: bytes, start: int, end: int) -> None:
    data = report()
    assert parse(data[:start] + junk + data[end:]).kind in Kind


def test_references_need_a_lower_case_mailbox_and_an_id() -> None:
    for wrong in ("Bounces@harbour.example", "b" * 30 + "@harbour.example", "a+b@harbour.example", "nobody"):
        with pytest.raises(InputError, match="mailbox"):
            Returns(bytes(32), wrong)
    with pytest.raises(Terminal, match="message id"):
        Returns(bytes(32), MAILBOX).sender("Not An Id")
    with pytest.raises(InputError, match="32 bytes"):
        Returns(b"short")
