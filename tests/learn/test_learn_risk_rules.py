"""Risk rules: what a missing field means, two evaluators and a database that agree, a file's faults, and backtests by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from risk_rule_kit import KINDS, Judge, Maker, rows

from tradewind.errors import InputError
from tradewind.learn._risk_rule_backtest import backtest
from tradewind.learn._risk_rule_columns import fired, verdicts
from tradewind.learn.risk_rules import Rule, checked, load, loads, parse, strictest
from tradewind.learn.risk_rules import fired as fired_of_one

FILE = """
[[rules]]
name = "farm"
rule = "block if a >= 5 and b < 2"
reason = { zh = "\u540c\u4e00\u8bbe\u5907\u591a\u8d26\u53f7", en = "Many accounts on one device." }
owner = "wang"
mode = "acting"

[[rules]]
name = "\u676d\u5dde"
rule = 'review if s == "\u676d\u5dde" and c / a > 3'
reason = { zh = "\u91d1\u989d\u5f02\u5e38", en = "An unusual amount." }
owner = "li"
"""


def made(text: str, name: str = "one") -> Rule:
    verdict, tree = parse(text, KINDS)
    return Rule(name, verdict, text, "z", "e", "owner", "shadow", tree)


def both(text: str, row: dict[str, Any]) -> bool | None:
    """What the scalar evaluator says; the vectorised one must not say anything else."""
    rule = made(text)
    found = rule.holds(row)
    columns = {name: [row.get(name)] for name in KINDS}
    assert fired([rule], columns, KINDS).tolist() == [[found is True]]
    other = made(f"block if not ({text.partition(' if ')[2]})")
    assert fired([other], columns, KINDS).tolist() == [[found is False]]
    return found


@pytest.mark.parametrize(
    ("condition", "row", "wanted"),
    [
        ("a > 3", {}, None),
        ("a != 3", {}, None),
        ("not a > 3", {"a": None}, None),
        ("a > 3 or b > 3", {"b": 4}, True),
        ("a > 3 and b > 3", {"b": 3}, False),
        ("a > 3 or b > 3", {"b": 3}, None),
        ("a is null", {}, True),
        ("a is not null", {"a": math.nan}, False),
        ("a is null", {"a": math.inf}, True),
        ("a in (1, 2)", {}, None),
        ("s in ('x')", {"s": ""}, False),
        ("f", {}, None),
        ("not f", {"f": False}, True),
        ("f == g", {"f": True, "g": True}, True),
        ("s != t", {"s": "x", "t": "y"}, True),
        ("s == t", {"s": "x"}, None),
        ("a / b > 0", {"a": 1, "b": 0}, None),
        ("a / b is null", {}, "error"),
        ("a / b > 0 or s is null", {"a": 0, "b": 0}, True),
        ("a * b > 0", {"a": 1e200, "b": 1e200}, None),
        ("a - b - c == 1", {"a": 6, "b": 3, "c": 2}, True),
        ("a + b * c == 7", {"a": 1, "b": 2, "c": 3}, True),
        ("(a + b) * c == 9", {"a": 1, "b": 2, "c": 3}, True),
        ("-a < 0 and 2 < a", {"a": 3}, True),
        ("s == '\u676d\u5dde'", {"s": "\u676d\u5dde"}, True),
    ],
)
def test_three_values(condition: str, row: dict[str, Any], wanted: object) -> None:
    if wanted == "error":
        with pytest.raises(InputError, match="expected a comparison"):
            made(f"block if {condition}")
        return
    assert both(f"block if {condition}", row) is wanted


def test_two_evaluators_and_a_database_agree_on_random_rules() -> None:
    """The long run of the same is ``bench/risk.py --only rules``."""
    rng = np.random.default_rng(11)
    some, maker = rows(rng, 150), Maker(rng)
    judge, columns = Judge(some), {name: [row.get(name) for row in some] for name in KINDS}
    texts = [maker.rule() for _ in range(300)]
    rules = [made(text) for text, _ in texts]
    at_once = fired(rules, columns, KINDS)
    seen: set[bool | None] = set()
    for (text, sql), rule, hits in zip(texts, rules, at_once, strict=True):
        said = [rule.holds(row) for row in some]
        assert said == judge.says(sql), text
        assert hits.tolist() == [each is True for each in said], text
        seen |= set(said)
    assert seen == {True, False, None}
    some_rules = [rule for rule in rules if rule.verdict == "block"]
    told = verdicts(rules, at_once).tolist()
    assert [("allow", "review", "block")[code] for code in told] == [strictest(fired_of_one(rules, row)) for row in some]
    assert any(code == 2 for code in told)
    assert some_rules


def test_blocks_and_arrow_columns_give_what_rows_give() -> None:
    """More rows than a block; Arrow with nulls and dictionaries, chunked, NumPy with NaN and integers."""
    n = 70_000
    rng = np.random.default_rng(2)
    a, s = rng.integers(0, 5, n), rng.choice(np.array(["cn", "de", None], dtype=object), n)
    columns = pa.table(
        {
            "a": pa.chunked_array([a[:100], a[100:]]),
            "b": pa.array(np.where(rng.random(n) < 0.5, 1.0, np.nan)),
            "s": pa.array(s).dictionary_encode(),
            "t": pa.array(["de"] * n),
        }
    )
    rule = made("block if a + b > 3 and s == t")
    told = fired([rule], columns, KINDS)[0]
    assert told.tolist() == [rule.holds(row) is True for row in columns.to_pylist()]
    assert 0 < told.sum() < n
    same = {name: columns[name].to_numpy() for name in ("a", "b", "t")} | {"s": s}
    assert (fired([rule], same, KINDS)[0] == told).all()


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "it begins with allow, review or block", ""),
        ("blok if a > 1", 'Did you mean "block"?', "blok"),
        ("block a > 1", 'expected "if" after "block"', "a"),
        ("block if ", 'got "the end"', ""),
        ("block if amount > 1", 'there is no field "amount"', "amount"),
        ("block if aa > 1", 'Did you mean "a"', "aa"),
        ("block if 1 < a < 3", "Write: 1 < a and a < ...", "< 3"),
        ("block if a = 1", "Write == instead.", "= 1"),
        ("block if a > 1 && b > 1", "Write and instead.", "&&"),
        ("block if a \uff1e 1", "Write > instead.", "\uff1e"),
        ("block if s == \u201c\u676d\u5dde\u201d", 'Write " instead.', "\u201c"),
        ("block if s == '\u676d\u5dde", "has no end", "'"),
        ("block if s == '\u676d\u5dde' and tt is null", 'no field "tt"', "tt"),
        ("block if s > 'x'", "which have no order", "> 'x'"),
        ("block if f < true", "which have no order", "< true"),
        ("block if a == 'x'", '"a" holds numbers; "x" is none', "'x'"),
        ("block if a == s", '"a" holds numbers; "s" does not', "s"),
        ("block if s + 1 == 2", "+ takes numbers", "s + 1"),
        ("block if a + 1", "expected a comparison", "+ 1"),
        ("block if (a > 1) > 2", "got a comparison, which is none", "(a"),
        ("block if 1 == 1", "it is always the same", "1 =="),
        ("block if a > 1e999", "too large", "1e999"),
        ("block if a in (b)", 'after "in"', "b)"),
        ("block if " + "(" * 60 + "a > 1" + ")" * 60, "nested deeper", "("),
        ("block if a > " + " + ".join(["1"] * 60), "more than 50 operations", "+"),
        ("block if a > 1 or " * 800 + "a > 1", "at most 10,000", None),
        ("block if a\n  > 'x'", '"a" holds numbers', "'x'"),
    ],
)
def test_errors_point_at_the_place(text: str, message: str, place: str | None) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, KINDS)
    assert message in str(caught.value)
    if place is None:
        return
    shown, caret = str(caught.value).splitlines()[-2:]
    wide = "".join(sign + " " if sign in "\u676d\u5dde\uff1e" else sign for sign in shown)  # two cells of a terminal
    assert wide[caret.index("^") :].replace(" ", "").startswith(place.replace(" ", ""))


def test_a_file_is_read_with_its_reasons() -> None:
    farm, other = loads(FILE, KINDS)
    assert (farm.name, farm.verdict, farm.owner, farm.mode, other.mode) == ("farm", "block", "wang", "acting", "shadow")
    assert farm.fields == ("a", "b")
    assert other.reason("zh-CN") == "\u91d1\u989d\u5f02\u5e38"
    assert other.reason("en") == "An unusual amount."
    assert fired_of_one([farm, other], {"a": 6, "b": 1, "s": "\u676d\u5dde", "c": 60}) == [farm, other]
    assert strictest([farm, other]) == "block"
    assert strictest([]) == "allow"
    changed = loads(FILE.replace("a >= 5", "a >= 6").replace("wang", "wu"), KINDS)
    assert changed[0].digest != farm.digest
    assert changed[1].digest == other.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[[rules]]", "[[rule]]"), 'nothing called "rule"'),
        (('name = "farm"', 'name = "\u676d\u5dde"'), 'rule 2: the name "\u676d\u5dde" was used before'),
        (('name = "farm"', "name = 3"), "rule 1: it needs a name"),
        (('name = "farm"', 'name = "a b"'), "rule 1: it needs a name"),
        (('owner = "wang"', 'ownr = "wang"'), 'Did you mean "owner"?'),
        (('owner = "wang"', ""), "it needs an owner"),
        (('mode = "acting"', 'mode = "live"'), 'mode is "shadow" or "acting"'),
        (("zh =", "de ="), "a reason in both languages"),
        (('rule = "block if a >= 5 and b < 2"', ""), "it says nothing"),
        (("a >= 5", "aa >= 5"), 'rule 1 "farm": Risk rule: there is no field "aa"'),
        (('owner = "li"', 'owner = "li'), "this is no TOML"),
    ],
)
def test_faults_of_a_file_name_the_rule(change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(FILE.replace(*change), KINDS)
    assert message in str(caught.value)


def test_faults_of_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "risk.toml"
    assert load(path, KINDS) == []
    path.write_text(FILE, encoding="utf-8")
    assert len(load(path, KINDS)) == 2
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"risk\.toml.*UTF-8"):
        load(path, KINDS)
    path.write_text("#" * 1_000_001)
    with pytest.raises(InputError, match="more than 1,000,000 bytes"):
        load(path, KINDS)
    one = FILE.partition('[[rules]]\nname = "\u676d')[0]
    path.write_text("".join(one.replace("farm", f"farm{number}") for number in range(1_001)), encoding="utf-8")
    with pytest.raises(InputError, match="1,001 rules"):
        load(path, KINDS)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"aa": 1}, "There is no field"),
        ({"a": "1"}, 'The field "a" is a number'),
        ({"a": True}, 'The field "a" is a number'),
        ({"a": 10**400}, 'The field "a" is a number'),
        ({"s": 1}, 'The field "s" is a text'),
        ({"f": 1}, 'The field "f" is a flag'),
    ],
)
def test_features_of_another_kind_are_refused(features: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(features, KINDS)


def test_columns_that_do_not_fit_are_refused() -> None:
    rule = made("block if a > 1 and s == 'x'")
    with pytest.raises(InputError, match='There is no column "s"'):
        fired([rule], {"a": [1]}, KINDS)
    with pytest.raises(InputError, match='The column "s" has 2 rows'):
        fired([rule], {"a": [1], "s": ["x", "y"]}, KINDS)
    with pytest.raises(InputError, match="the field is a text"):
        fired([rule], {"a": [1], "s": [1]}, KINDS)
    with pytest.raises(InputError, match="cannot be read as a number"):
        fired([rule], {"a": [1, "x"], "s": ["x", "y"]}, KINDS)
    assert fired([rule], {"a": [None, None], "s": [None, "x"]}, KINDS).tolist() == [[False, False]]
    assert fired([], {"a": [1, 2]}, KINDS).shape == (0, 2)


def test_a_backtest_counted_by_hand() -> None:
    block, review, allow = made("block if a >= 5", "many"), made("review if b >= 1", "odd"), made("allow if a < 5", "few")
    columns = {"a": [6, 6, 6, 5, 1, 1], "b": [1, 0, 0, 1, 1, 0]}
    label = np.array([1.0, 0.0, np.nan, 1.0, 1.0, 0.0])
    amount = np.array([100, 10, 1_000, 200, 300, 7])
    people = ["x", "x", "y", "z", "u", None]
    many, odd, few = backtest([block, review, allow], columns, label, amount, kinds=KINDS, customer=people, acting={"odd"})
    assert (many.rows, many.fired, many.judged, many.caught) == (6, 4, 3, 2)
    assert many.precision.value == pytest.approx(2 / 3)
    assert many.recall.value == pytest.approx(2 / 3)
    assert many.precision.low is not None
    assert 0 < many.precision.low < 2 / 3
    assert (many.money_caught, many.money_share, many.money_good) == (300, 0.5, 10)
    assert many.overlap == {"odd": 0.5}
    assert (many.newly, many.newly_good) == (3, 0)  # x, y and z; x is also a fraud, of y and z nothing good is known
    assert odd.newly == 3
    assert odd.overlap == {"many": 2 / 3, "few": 1 / 3}
    assert few.newly == 0
    assert many.figures()["recall"] == pytest.approx(2 / 3)
    nothing = backtest([made("block if a > 99")], columns, label, amount, kinds=KINDS)[0]
    assert (nothing.fired, nothing.fire_rate, nothing.figures()["precision"], nothing.recall.value) == (0, 0.0, None, 0.0)
    unknown = backtest([block], columns, np.full(6, np.nan), amount, kinds=KINDS)[0]
    assert (unknown.judged, unknown.figures()["recall"], unknown.figures()["money_share"]) == (0, None, None)


def test_one_customer_with_many_orders_is_little_evidence() -> None:
    rule, n = made("block if a > 0"), 40
    columns, label, amount = {"a": np.ones(n)}, np.arange(n) % 2 == 0, np.ones(n, dtype=np.int64)
    alone = backtest([rule], columns, label.astype(float), amount, kinds=KINDS, customer=["x"] * n)[0].precision
    apart = backtest([rule], columns, label.astype(float), amount, kinds=KINDS)[0].precision
    assert alone.value == apart.value == 0.5
    assert alone.high is not None
    assert alone.low is not None
    assert apart.high is not None
    assert apart.low is not None
    assert alone.high - alone.low > 2 * (apart.high - apart.low)


def test_a_backtest_needs_history() -> None:
    with pytest.raises(InputError, match="needs history"):
        backtest([made("block if a > 0")], {"a": []}, np.array([]), np.array([], dtype=np.int64), kinds=KINDS)
    with pytest.raises(InputError, match="one row per moment"):
        backtest([made("block if a > 0")], {"a": [1.0]}, np.ones(2), np.ones(2, dtype=np.int64), kinds=KINDS)
