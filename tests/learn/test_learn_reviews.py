"""Reviews: n-grams that do not depend on the batch, sentiment from stars, aspects with their words, and what may be quoted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tradewind as tw
from tradewind.demo import Clock
from tradewind.errors import InputError, NotFitted, NotFound
from tradewind.learn import reviews
from tradewind.learn._text_grams import COLUMNS, Grams, is_chinese, normalise
from tradewind.learn.aspects import mentions
from tradewind.learn.reviews import Review, Reviews
from tradewind.learn.sentiment import Sentiment
from tradewind.simulate.world import World

PRAISE = ["great {}, love it", "the {} is excellent", "perfect {}", "{}很好\uff0c喜欢", "非常满意的{}", "nice {} and soft"]
BLAME = ["awful {}, sent back", "the {} broke at once", "terrible {}", "{}太差了\uff0c失望", "垃圾{}\uff0c退货", "bad {} and rough"]
THINGS = ["mug", "coat", "lamp", "book", "shirt", "soap", "杯子", "外套", "台灯", "书", "衬衫", "香皂"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.fixture(scope="module")
def model() -> Sentiment:
    texts = [pattern.format(thing) for pattern in (*PRAISE, *BLAME) for thing in THINGS]
    return Sentiment().fit(texts, [True] * (len(texts) // 2) + [False] * (len(texts) // 2))


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_a_row_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    plain = [normalise(text) for text in texts]
    together = Grams().rows(plain)
    assert together.shape == (len(texts), COLUMNS)
    for number, text in enumerate(plain):
        alone = Grams().rows([text])
        assert (together[number] != alone).nnz == 0
        assert (alone.nnz == 0) == (not text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\uff21\uff22\uff23\uff11\uff12\uff13", "abc123"),
        ("so goooooood", "so good"),
        ("<b>fine</b> &amp; dandy", "fine & dandy"),
        ("  a \n\t b ", "a b"),
        ("", ""),
        ("1 < 2 > 0", "1 < 2 > 0"),
    ],
)
def test_one_spelling(text: str, plain: str) -> None:
    assert normalise(text) == plain
    assert normalise(plain) == plain


def test_the_script_is_told_from_the_letters() -> None:
    assert is_chinese("质量很好 ok")
    assert not is_chinese("very nice 好")
    assert not is_chinese("")


def test_sentiment_in_both_languages_and_its_words(model: Sentiment) -> None:
    found = model.predict(["love this excellent chair", "terrible chair, broke", "椅子很好喜欢", "椅子太差了", "", "xyzzy"])
    assert found.verdict[:4].tolist() == [1, -1, 1, -1]
    assert found.praise[4] == 0.5
    assert found.verdict[4] == 0
    assert ((found.praise >= 0) & (found.praise <= 1)).all()
    word, by = model.because("the lamp broke at once")[0]
    assert by < 0
    assert word in {"broke", "at", "once"}


def test_the_order_of_texts_and_copies_change_nothing(model: Sentiment, tmp_path: Path) -> None:
    texts = ["great chair", "bad chair", "椅子很好"]
    straight, back = model.predict(texts).praise, model.predict(texts[::-1]).praise[::-1]
    assert np.allclose(straight, back, atol=1e-6)
    model.save(tmp_path)
    assert np.array_equal(Sentiment.load(tmp_path).predict(texts).praise, straight)


def test_torn_and_repeated_texts_teach_nothing_more() -> None:
    texts = [pattern.format(thing) for pattern in (*PRAISE, *BLAME) for thing in THINGS]
    labels = [True] * (len(texts) // 2) + [False] * (len(texts) // 2)
    plain = Sentiment().fit(texts, labels).predict(["great lamp"]).praise
    more = Sentiment().fit([*texts, *texts[:40], "so so", "so so"], [*labels, *labels[:40], True, False]).predict(["great lamp"]).praise
    assert plain == more


def test_stars_are_labels_and_three_is_neither() -> None:
    texts = [pattern.format(thing) for pattern in (*PRAISE, *BLAME) for thing in THINGS]
    stars = [5.0, 4.0] * (len(texts) // 4) + [1.0, 2.0] * (len(texts) // 4)
    found = Sentiment().fit_stars([*texts, "awful awful"], [*stars, 3.0])
    assert found.predict(["perfect lamp"]).verdict.tolist() == [1]


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a"], [], "one label per text"),
        (["a"] * 200, [True, False] * 100, "got 0 and 0"),
        ([str(i) for i in range(200)], [True] * 200, "50 of blame"),
    ],
)
def test_too_little_to_learn_from_says_so(texts: list[str], labels: list[bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sentiment().fit(texts, labels)


def test_wrong_settings_and_an_unfitted_model_are_refused() -> None:
    with pytest.raises(InputError, match="band"):
        Sentiment(band=0.7).fit([], [])
    with pytest.raises(NotFitted):
        Sentiment().predict(["a"])
    with pytest.raises(NotFitted):
        Sentiment().because("a")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("质量很好\uff0c但是物流太慢了。包装不好", {"quality": 1, "delivery": -1, "packaging": -1}),
        ("尺寸偏小\uff0c颜色很漂亮", {"size": -1, "look": 1}),
        ("Runs small but the fabric is beautiful", {"size": -1, "material": 1, "look": 1}),
        ("The quality is not good", {"quality": -1}),
        ("不太便宜", {"value": -1}),
        ("not itchy", {"comfort": 1}),
        ("没有异味", {"scent": 1}),
        ("客服态度好", {"service": 1}),
        ("the colour", {"look": 0}),
        ("quality good, service bad", {"quality": 1, "service": -1}),
        ("hello there", {}),
        ("sizeable", {}),
        ("", {}),
    ],
)
def test_aspects_by_clause(text: str, told: dict[str, int]) -> None:
    assert {each.aspect: each.sign for each in mentions(text)} == told


def test_evidence_is_the_clause_itself() -> None:
    text = "Nice. The size runs small, 包装破损\uff01"
    for each in mentions(text):
        assert text[each.start : each.end].strip() in ("The size runs small", "包装破损")


def test_the_model_decides_what_the_lexicon_leaves_open(model: Sentiment) -> None:
    assert [each.sign for each in mentions("the fabric is rough")] == [0]
    assert [each.sign for each in mentions("the fabric is rough and broke at once", model=model)] == [-1, -1]


NOW = datetime(2026, 3, 1, tzinfo=UTC)


def made(*rows: tuple[str, str, int]) -> Reviews:
    """Reviews of (item, text, days ago)."""
    return Reviews(
        tuple(
            Review(f"r{number}", item, NOW - timedelta(days=days), text, None, tuple(mentions(text)))
            for number, (item, text, days) in enumerate(rows)
        ),
        NOW,
        None,
    )


def test_counts_are_reviews_not_words() -> None:
    found = made(("a", "size too small, size too big", 1), ("a", "great quality. bad quality", 1), ("b", "great quality", 2))
    assert found.counts() == {("a", "quality"): (0, 1), ("a", "size"): (0, 1), ("b", "quality"): (1, 1)}
    assert found.counts(["b"]) == {("b", "quality"): (1, 1)}
    shares = {share.name: share for share in found.aspects()}
    assert shares["quality"].value == 0.5
    assert 0 < (shares["quality"].low or 0) < 0.5 < (shares["quality"].high or 0) < 1


def test_extracts_stand_in_the_review_that_is_named() -> None:
    found = made(*((f"i{n % 3}", f"delivery was slow in week {n}", 3) for n in range(9)), ("i0", "delivery was fast", 2))
    by_id = {review.id: review.text for review in found.reviews}
    extracts = found.evidence("delivery", -1)
    assert len(extracts) == 3
    assert all(clause in by_id[name] for name, clause in extracts)
    assert [clause for _, clause in found.evidence("delivery", 1)] == ["delivery was fast"]
    assert found.evidence("taste", 1) == []


def test_what_is_new_this_week_is_found_and_steady_words_are_not() -> None:
    steady = [("a", "good quality lamp", days) for days in range(1, 60)]
    fresh = [("a", "good quality lamp flickers", 2)] * 9
    found = made(*steady, *fresh)
    assert [word for word, _, _ in found.new_words()] == ["flickers"]
    assert made(*steady).new_words() == []
    assert made().new_words() == []
    rising = made(
        *[("a", "delivery was fast", 20)] * 30, *[("a", "delivery was slow", 2)] * 10, *[("a", "good quality", d) for d in (2, 20)]
    )
    name, late, before, z = rising.trend()[0]
    assert (name, late, before) == ("delivery", 1.0, 0.0)
    assert z > 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tw.Shop]:
    folder = tmp_path_factory.mktemp("reviews")
    world = World.make(400, seed=5, start=date(2026, 1, 5), days=60)
    world.write(folder / "export")
    with tw.Shop.open(folder / "shop", now=Clock(world.end)) as opened:
        opened.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        opened.learn(recommend="popular")
        yield opened


def test_the_shop_reads_its_reviews(shop: tw.Shop) -> None:
    found = shop.reviews()
    text = str(found)
    assert "share of praise" in text
    for share in found.sections[0].estimates:
        assert 0 <= (share.low or 0) <= share.value <= (share.high or 0) <= 1
    praised = reviews.praise(shop.home, before=shop.now())
    assert praised
    own = reviews.loaded(shop.home, as_of=shop.now()).counts()
    assert {(item, aspect): pair for item, told in praised.items() for aspect, pair in told.items()} == own
    assert reviews.praise(shop.home, before=shop.now() - timedelta(days=30)) == {}, "nothing learned later is quoted earlier"
    with pytest.raises(NotFound, match="no review of"):
        shop.reviews(items=["nothing"])


def test_a_stranger_at_the_command_line(shop: tw.Shop) -> None:
    from typer.testing import CliRunner

    from tradewind.cli import app

    item = reviews.loaded(shop.home, as_of=shop.now()).reviews[0].item
    done = CliRunner().invoke(app, ["reviews", "--shop", str(shop.home.root), "--item", item])
    assert done.exit_code == 0, done.output
    assert "In their own words" in done.output
