# ruff: noqa: RUF001 (Chinese punctuation is what is tested)
"""The register of SMS templates: its life cycle, what each vendor's review refuses, and a file that somebody damaged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tradewind.compose.registered import FILE, Register, faults, hours, values, wording
from tradewind.errors import InputError, NotFound, StateError

AT = datetime(2026, 3, 1, tzinfo=UTC)
GOOD = "您好，{title}到店了，欢迎来看看。拒收请回复R"


def entered(register: Register, *, vendor: str = "aliyun", text: str = GOOD) -> None:
    register.draft("arrival", vendor=vendor, text=text, at=AT, by="lin")


def approved(register: Register, *, expires_at: datetime | None = None) -> None:
    entered(register)
    register.submit("arrival", vendor="aliyun", at=AT, by="lin")
    register.approve("arrival", vendor="aliyun", code="SMS_1", at=AT, by="lin", expires_at=expires_at)


def test_a_template_goes_through_its_life(tmp_path: Path) -> None:
    register = Register(tmp_path)
    approved(register)
    (one,) = Register(tmp_path).usable(vendor="aliyun", now=AT)  # read from the file again
    assert (one.state, one.code, one.version) == ("approved", "SMS_1", 1)
    assert register.usable(vendor="tencent", now=AT) == ()
    register.expire("arrival", vendor="aliyun", at=AT, by="lin")
    assert register.usable(vendor="aliyun", now=AT) == ()
    assert len((tmp_path / FILE).read_text(encoding="utf-8").splitlines()) == 4  # every step is kept


def test_an_approval_ends_by_itself(tmp_path: Path) -> None:
    register = Register(tmp_path)
    approved(register, expires_at=AT + timedelta(days=30))
    late = AT + timedelta(days=30)
    assert register.get("arrival", vendor="aliyun", now=AT).state == "approved"
    assert register.get("arrival", vendor="aliyun", now=late).state == "expired"
    assert register.usable(vendor="aliyun", now=late) == ()


def test_the_approved_version_stays_in_use_while_the_next_is_under_review(tmp_path: Path) -> None:
    register = Register(tmp_path)
    approved(register)
    entered(register, text="您好，新品到店。拒收请回复R")
    register.submit("arrival", vendor="aliyun", at=AT, by="lin")
    assert [entry.version for entry in register.usable(vendor="aliyun", now=AT)] == [1]
    with pytest.raises(StateError, match="version 2 is under review at aliyun"):
        entered(register)
    register.reject("arrival", vendor="aliyun", why="wording", at=AT, by="lin")
    assert register.get("arrival", vendor="aliyun", now=AT).why == "wording"
    assert [entry.version for entry in register.usable(vendor="aliyun", now=AT)] == [1]
    entered(register)
    assert register.get("arrival", vendor="aliyun", now=AT).version == 3


def test_no_step_is_skipped(tmp_path: Path) -> None:
    register = Register(tmp_path)
    entered(register)
    with pytest.raises(StateError, match="is draft; only submitted becomes approved"):
        register.approve("arrival", vendor="aliyun", code="SMS_1", at=AT, by="lin")
    with pytest.raises(NotFound, match='There is no template at aliyun "arival"'):
        register.submit("arival", vendor="aliyun", at=AT, by="lin")
    register.submit("arrival", vendor="aliyun", at=AT, by="lin")
    with pytest.raises(InputError, match="needs the number that aliyun gave it"):
        register.approve("arrival", vendor="aliyun", code=" ", at=AT, by="lin")
    with pytest.raises(InputError, match="a time with its zone"):
        register.draft("other", vendor="aliyun", text=GOOD, at=AT.replace(tzinfo=None), by="lin")


@pytest.mark.parametrize(
    ("vendor", "text", "said"),
    [
        ("huawei", "会员您好，{title}到店了。拒收请回复R", "no variables"),
        ("huawei", "您好，新品到店。拒收请回复R", "must say 会员"),
        ("huawei", "会员您好，领券享优惠。拒收请回复R", "refused topic"),
        ("huawei", "会员您好，新品&好物到店。拒收请回复R", "characters that the review refuses: &"),
        ("aliyun", "您好，新品到店。", "must end with"),
        ("aliyun", "{title}{brand}拒收请回复R", "side by side"),
        ("aliyun", "{title}，{brand}拒收请回复R", "variables alone"),
        ("aliyun", "您好，{titel}到店。拒收请回复R", "{titel} is no slot"),
        ("aliyun", "您好，低息贷款。拒收请回复R", "refused topic"),
        ("tencent", "您好，好久不见。拒收请回复R", "refused topic"),
        ("qiniu", "您好，新品到店。拒收请回复R", "回T退订"),
        ("aliyun", "新" * 500 + "拒收请回复R", "at most 500"),
    ],
)
def test_what_a_review_would_refuse_is_not_submitted(tmp_path: Path, vendor: str, text: str, said: str) -> None:
    assert any(said in fault for fault in faults(text, vendor=vendor))
    register = Register(tmp_path)
    entered(register, vendor=vendor, text=text)
    with pytest.raises(InputError, match=f"would be refused by {vendor}"):
        register.submit("arrival", vendor=vendor, at=AT, by="lin")
    assert register.get("arrival", vendor=vendor, now=AT).state == "draft"


def test_a_sound_template_passes_every_vendor_that_takes_variables() -> None:
    assert [faults(GOOD, vendor=vendor) for vendor in ("aliyun", "tencent")] == [[], []]
    assert faults("会员您好，新品到店，欢迎来看看。拒收请回复R", vendor="huawei") == []


def test_variables_in_the_vendors_own_writing(tmp_path: Path) -> None:
    register = Register(tmp_path)
    both = "您好，{shop}的{title}到店了。拒收请回复R"
    assert wording(register.draft("a", vendor="aliyun", text=both, at=AT, by="lin")) == "您好，${shop}的${title}到店了。拒收请回复R"
    entry = register.draft("a", vendor="tencent", text=both, at=AT, by="lin")
    assert wording(entry) == "您好，{1}的{2}到店了。拒收请回复R"
    assert values(entry, {"shop": "海港", "title": "白瓷杯", "price": "9元"}) == {"shop": "海港", "title": "白瓷杯"}
    for texts, said in (
        ({"shop": "海港"}, 'no fact "title"'),
        ({"shop": "海港", "title": "很" * 13}, "13 characters; tencent takes 12"),
        ({"shop": "海港", "title": "evil.cn"}, "holds a link"),
    ):
        with pytest.raises(InputError, match=said):
            values(entry, texts)
    assert hours("qiniu") == (8, 20)


def test_a_damaged_register_is_not_read(tmp_path: Path) -> None:
    entered(Register(tmp_path))
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write('{"name": "half\n')
    with pytest.raises(InputError, match="line 2 is no step of the register"):
        Register(tmp_path).usable(vendor="aliyun", now=AT)
    with pytest.raises(NotFound, match='no SMS vendor "alyun"'):
        Register(tmp_path).usable(vendor="alyun", now=AT)
