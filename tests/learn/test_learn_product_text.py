"""Product texts: attributes with their words and a counted confidence, categories that abstain, titles entered twice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError, NotFitted
from tradewind.learn._product_words import built, folded, lexicon
from tradewind.learn._text_grams import Grams
from tradewind.learn.product_duplicates import candidates, near_duplicates, similarity, titles
from tradewind.learn.product_text import AttributeReader, CategoryReader, stated


def item(name: str, title: str = "", *, category: str | None = None, brand: str | None = None, **told: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("title_zh", "title_en", "description_zh", "description_en"))
    return {"item": name, "title": title, **texts, "category": category, "brand": brand, "attributes": json.dumps(told)}


def values(title: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in lexicon().find(title):
        found.setdefault(each.attribute, []).append(each.value)
    return found


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Navy Blue Cotton Shirt For Men", {"colour": ["blue"], "material": ["cotton"], "gender": ["men"]}),
        ("红色纯棉T恤 男女同款", {"colour": ["red"], "material": ["cotton"], "gender": ["unisex"]}),
        ("\uff32\uff25\uff24 mug 350 ml, pack of 4", {"colour": ["red"], "capacity": ["350ml"], "pack": ["packof4"]}),
        ("红茶 500克 3包装", {"weight": ["500克"], "pack": ["3包装"]}),  # red tea is no red thing
        ("redwood bored tincture", {}),
        ("Leather-free bag, non leather, no wood", {}),
        ("非棉面料 无玻璃", {}),
        ("PU leather case", {"material": ["imitation_leather"]}),
        ("棉red帽", {"colour": ["red"]}),
        ("2x30cm ribbon", {"dimension": ["2x30cm"]}),
        ("", {}),
    ],
)
def test_words_that_are_attributes(title: str, expected: dict[str, list[str]]) -> None:
    assert values(title) == expected


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60), st.sampled_from(["red", "红色", "350ml", "\uff52\uff45\uff44"]))
def test_spans_are_places_in_the_text_as_it_was_given(text: str, word: str) -> None:
    whole = f"{text} {word} {text}"
    for each in lexicon().find(whole):
        assert 0 <= each.start < each.end <= len(whole)
    plain, places = folded(whole)
    assert len(places) == len(plain) + 1
    assert places[-1] == len(whole)
    spoken = [whole[each.start : each.end] for each in lexicon().find(f"a {word} b")]
    assert spoken
    assert any(whole[each.start : each.end] == word for each in lexicon().find(whole)) or word in text or text


def test_a_word_with_two_values_is_refused() -> None:
    twice = {"colour": {"keys": ["colour"], "values": {"red": {"en": ["rose"]}, "pink": {"en": ["rose"]}}}}
    with pytest.raises(InputError, match='"rose" is both red and pink'):
        built(twice)


def test_what_a_catalogue_states() -> None:
    row = item("a", brand="Acme", Color="Red", colour_zh="红色", Style="boho", odd=["x"], empty=" ")
    assert stated(row) == {"colour": ["Red", "红色"], "style": ["boho"], "brand": ["Acme"]}
    assert stated({**row, "attributes": "[1]", "brand": None}) == {}
    assert stated({**row, "attributes": "{broken", "brand": None}) == {}


def shelf() -> list[dict[str, Any]]:
    """Red in a title is true nine times of ten; wood never."""
    rows = [item(f"r{n}", f"red mug {n}x", colour="red" if n else "blue", material="steel") for n in range(10)]
    return rows + [item(f"w{n}", "wooden look mug", colour="green", material="plastic") for n in range(10)]


def test_confidence_is_what_the_catalogue_shows() -> None:
    reader = AttributeReader().fit(shelf())
    red, wood = reader.propose([item("new", "red wooden mug")])
    assert (red.attribute, red.value, red.texts) == ("colour", "red", {"en": "red", "zh": "红色"})
    assert (red.evidence.field, red.evidence.words, red.evidence.start, red.evidence.end) == ("title", "red", 0, 3)
    assert red.confidence == pytest.approx((9 + 5 * 10 / 12) / 15)
    assert (wood.attribute, wood.value) == ("material", "wood")
    assert wood.confidence == pytest.approx((0 + 5 / 12) / 15)
    assert reader.propose([item("new", "red wooden mug")], least=0.5) == [red]
    nothing = AttributeReader().fit([]).propose([item("new", "red mug")])
    assert [each.confidence for each in nothing] == [0.5]


def test_the_shops_own_words_are_looked_for_and_stated_ones_are_left_alone() -> None:
    rows = [item(f"a{n}", f"Zephyro lamp {n}", brand="Zephyro", fit="slouchy") for n in range(3)]
    reader = AttributeReader().fit([*rows, item("once", "x", brand="Oncebrand")])
    found = reader.propose([item("b", "New ZEPHYRO slouchy lamp by Oncebrand"), rows[0]])
    assert [(each.item, each.attribute, each.value) for each in found] == [("b", "brand", "zephyro"), ("b", "fit", "slouchy")]
    assert found[0].texts == {"en": "Zephyro"}
    assert found[0].evidence.words == "ZEPHYRO"


def test_several_values_are_judged_apart() -> None:
    rows = [item(f"m{n}", "red or blue mug", colour="green") for n in range(20)]
    rows += [item(f"s{n}", "red mug", colour="red") for n in range(20)]
    reader = AttributeReader().fit(rows)
    assert reader.confidence("colour", "red", several=False) > 0.9
    assert reader.confidence("colour", "red", several=True) < 0.1


def test_categories_are_suggested_only_where_words_tell() -> None:
    def row(n: int, noun: str, shop: str) -> dict[str, Any]:
        return item(f"{noun}{n}", f"{['fine', 'blue', 'old', 'big', 'soft'][n % 5]} {noun} number{n}", category=shop)

    rows = [row(n, noun, shop) for n in range(20) for noun, shop in (("mug", "Kitchen > Mugs"), ("衬衫", "Clothes"), ("lamp", "Light"))]
    reader = CategoryReader().fit(rows)
    found = reader.suggest([item("a", "a green mug"), item("b", "zzz qqq"), item("c", "白衬衫"), item("d", ""), rows[0]])
    assert [(each.item, each.value) for each in found] == [("a", "Kitchen > Mugs"), ("c", "Clothes")]
    assert found[0].texts == {"en": "Mugs"}
    assert all(each.confidence >= 0.8 for each in found)
    assert CategoryReader(sure=0.999999).fit(rows).suggest([item("a", "a mug lamp")]) == []
    two = CategoryReader().fit([each for each in rows if each["category"] != "Light"])
    assert [each.value for each in two.suggest([item("a", "a green mug")])] == ["Kitchen > Mugs"]


def test_readers_that_learned_nothing() -> None:
    with pytest.raises(InputError, match="two or more have 3 items"):
        CategoryReader().fit([item("a", "x", category="A")])
    with pytest.raises(NotFitted):
        CategoryReader().suggest([])
    with pytest.raises(NotFitted):
        AttributeReader().propose([])


PAIRS = {
    "a": "Acme ceramic mug 300 ml, red, dishwasher safe",
    "b": "ACME Ceramic Mug 300ml red - dishwasher safe NEW",
    "c": "Acme ceramic mug 500 ml, red, dishwasher safe",
    "d": "Acme ceramic mug 300 ml, blue, dishwasher safe",
    "e": "a garden hose of twenty metres",
    "f": "",
}


def test_duplicates_variants_and_others() -> None:
    found = {(pair.one, pair.other): pair for pair in near_duplicates(PAIRS, alike=0.5)}
    assert found["a", "b"].kind == "duplicate"
    assert "number" in found["a", "c"].differs
    assert found["a", "d"].differs == ("colour",)
    assert not any("e" in pair or "f" in pair for pair in found)
    assert next(iter(found)) == ("a", "b")


def test_a_slip_of_the_keys_is_no_other_product_but_another_word_is() -> None:
    three = {"one": "Harbour enamel teapot with lid", "slip": "Harbuor enamel teapot with lid", "other": "Meadow enamel teapot with lid"}
    kind = {(pair.one, pair.other): pair.kind for pair in near_duplicates(three, alike=0.5)}
    assert kind == {("one", "slip"): "duplicate", ("one", "other"): "variant", ("other", "slip"): "variant"}


def test_chinese_titles_with_and_without_blanks_are_one() -> None:
    found = near_duplicates({"a": "山岚 陶瓷 马克杯 350毫升", "b": "包邮 山岚陶瓷马克杯350毫升", "c": "山岚 陶瓷 马克杯 500毫升"})
    assert [(pair.one, pair.other, pair.kind) for pair in found if pair.kind == "duplicate"] == [("a", "b", "duplicate")]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("abcde ", min_size=12, max_size=30), min_size=2, max_size=12, unique=True), st.integers(0, 5))
def test_hashing_finds_what_comparing_all_with_all_finds(texts: list[str], seed: int) -> None:
    rows = Grams(chars=3, words=1).rows(texts)
    first, second = candidates(rows, seed=seed)
    assert ((first < second) & (second < len(texts))).all()
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    sets = [set(rows[n].indices.tolist()) for n in range(len(texts))]
    for a in range(len(texts)):
        for b in range(a + 1, len(texts)):
            share = len(sets[a] & sets[b]) / max(len(sets[a] | sets[b]), 1)
            assert share < 0.8 or (a, b) in found


def test_similarity_is_a_cosine() -> None:
    rows = Grams(chars=3, words=1).rows(["abc def", "abc def", "xyz"])
    close = similarity(rows, np.ones(rows.shape[1], np.float32), np.array([0, 0]), np.array([1, 2]))
    np.testing.assert_allclose(close, [1, 0], atol=1e-6)


def test_titles_and_bounds() -> None:
    assert near_duplicates({}) == near_duplicates({"a": "alone"}) == []
    with pytest.raises(InputError, match=r"0\.3 to 1"):
        near_duplicates({}, alike=0.1)
    rows = [item("a", "x"), {**item("b"), "title_zh": "杯"}, item("c")]
    assert titles(rows) == {"a": "x", "b": "杯"}
