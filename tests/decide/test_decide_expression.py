"""Eligibility expressions: three-valued logic, equality with Python on random tables, and errors with a caret."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.decide.expression import columns, matches
from tradewind.errors import InputError

TABLE = pa.table({"stage": ["new", "active", None], "recency_days": [10.0, None, 45.0], "orders": [0, 2, 5], "vip": [True, False, None]})


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('stage != "new"', [False, True, False]),
        ('not stage == "new"', [False, True, False]),
        ("recency_days > 30 or orders == 2", [False, True, True]),
        ('recency_days <= 10 and stage == "new"', [True, False, False]),
        ("recency_days is null", [False, True, False]),
        ("recency_days is not null and orders >= 0", [True, False, True]),
        ("orders in (0, 5)", [True, False, True]),
        ("stage in ('active', 'lapsed')", [False, True, False]),
        ("vip", [True, False, False]),
        ("not vip", [False, True, False]),
        ("vip == false", [False, True, False]),
        ("not (orders > 1 and vip)", [True, True, False]),
        ("orders > -1.5", [True, True, True]),
    ],
)
def test_truth_and_nulls(expression: str, wanted: list[bool]) -> None:
    assert matches(expression, TABLE).tolist() == wanted


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('stag != "new"', 'no column "stag". Did you mean "stage"?'),
        ("stage = 'new'", 'cannot read "="'),
        ("stage > 'new'", "which have no order"),
        ("stage == 3", '"stage" holds texts; 3 is none'),
        ("orders == 'two'", '"orders" holds numbers'),
        ("orders", "expected a comparison"),
        ("orders == ", 'got "the end"'),
        ("", 'got "the end"'),
        ("(orders == 1", 'expected ")"'),
        ("orders == 1 stage", 'expected "and", "or" or the end'),
        ("orders in 1", 'expected "(" after "in"'),
        ("orders is 1", 'expected "null"'),
        ("__import__('os').system('x')", 'cannot read "."'),
        ("not " * 60 + "vip", "nested deeper"),
    ],
)
def test_errors_point_at_the_place(expression: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        matches(expression, TABLE)
    assert message in str(caught.value)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert shown.strip() == expression.strip()
    assert caret.strip() == "^"


def test_the_caret_is_below_the_wrong_word() -> None:
    with pytest.raises(InputError) as caught:
        matches("orders > 1 and recency > 3", TABLE)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert caret.index("^") == shown.index("recency")


def test_columns_are_listed() -> None:
    assert columns('recency_days > 30 and stage != "new" or vip is null') == {"recency_days", "stage", "vip"}


LEAF = st.tuples(st.sampled_from("ab"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(-2, 2)).map(
    lambda leaf: f"{leaf[0]} {leaf[1]} {leaf[2]}"
)
TREE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda pair: f"({pair[0]}) {pair[1]} ({pair[2]})"),
        inner.map(lambda one: f"not ({one})"),
    ),
    max_leaves=6,
)


@given(expression=TREE, rows=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=5))
def test_without_nulls_it_is_plain_logic(expression: str, rows: list[tuple[int, int]]) -> None:
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    assert matches(expression, table).tolist() == [bool(eval(expression, {}, {"a": a, "b": b})) for a, b in rows]
