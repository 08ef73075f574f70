"""The content model: worlds where words decide, texts from a shop's table, and encoders that are not there."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from profile_kit import AS_OF, fill, random_events
from recommend_worlds import END, HOUR, of

from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.learn._content_catalogue import Catalogue, Column, attributes, described
from tradewind.learn._content_text import features, lsa, normal
from tradewind.learn.base import load
from tradewind.learn.content import Content, bounded
from tradewind.learn.sequences import Sequences, sequences

TEA = {"t1": "Longjing green tea 200 g", "t2": "Biluochun green tea 100 g", "t3": "Green tea bags, 50 pieces"}
HATS = {"h1": "Wool winter hat", "h2": "Straw sun hat", "h3": "Wool hat with ears"}
CHINESE = {"c1": "西湖龙井绿茶 明前特级", "c2": "碧螺春绿茶礼盒", "c3": "羊毛冬帽", "c4": "羊毛围巾冬季"}


def world(texts: dict[str, str], *rows: tuple[str, str, int]) -> Sequences:
    who, what, when = zip(*rows, strict=True) if rows else ((), (), ())
    return Sequences.from_arrays(
        list(who), item=list(what), at=[hour * HOUR for hour in when], items=sorted(texts), catalogue=Catalogue(texts=texts)
    )


def names(model: Content, history: Sequences, k: int) -> list[str]:
    return [str(model.items[item]) for item in model.recommend(history, k=k).items[0] if item >= 0]


def test_untouched_items_are_found_by_their_words() -> None:
    log = world(TEA | HATS, ("a", "t1", 1), ("b", "h1", 2))
    model = Content().fit(log, as_of=END)
    assert set(names(model, log.histories(["a"]), 2)) == {"t2", "t3"}
    assert set(names(model, log.histories(["b"]), 2)) == {"h2", "h3"}


def test_chinese_needs_no_segmentation() -> None:
    log = world(CHINESE, ("a", "c1", 1), ("b", "c3", 2))
    model = Content().fit(log, as_of=END)
    assert names(model, log.histories(["a"]), 1) == ["c2"]
    assert names(model, log.histories(["b"]), 1) == ["c4"]


def complements() -> tuple[dict[str, str], list[tuple[str, str, int]]]:
    """Cases are bought after phones of the same maker, and never after another phone; words alone say the reverse."""
    makers = [f"maker{n}" for n in range(8)]
    texts = {f"phone {maker}": f"{maker} smartphone handset" for maker in makers}
    texts |= {f"case {maker}": f"{maker} leather cover protective" for maker in makers}
    rows = []
    for n, maker in enumerate(makers[:6]):  # the last two makers' cases are cold
        rows += [
            row for c in range(12) for row in ((f"{maker}-{c}", f"phone {maker}", 2 * n + 1), (f"{maker}-{c}", f"case {maker}", 2 * n + 2))
        ]
    return texts, rows


def test_the_log_teaches_which_words_follow_which() -> None:
    texts, rows = complements()
    log = world(texts, *rows)
    history = of(("new", "phone maker7", 1))
    learned, plain = Content(bound=8.0).fit(log, as_of=END), Content(bound=0.0).fit(log, as_of=END)
    assert all(name.startswith("phone") for name in names(plain, of(("n", "phone maker1", 1)), 3))
    assert all(name.startswith("case") for name in names(learned, of(("n", "phone maker1", 1)), 3))
    # A phone without events has no shift: it asks with its words alone, exactly as the model without learning does.
    np.testing.assert_array_equal(
        learned._query[list(learned.items).index("phone maker7")], plain._text[list(plain.items).index("phone maker7")]
    )
    assert names(learned, history, 1) == names(plain, history, 1)


def test_the_shift_is_bounded() -> None:
    rng = np.random.default_rng(0)
    text, shift = rng.normal(size=(50, 7)).astype(np.float32), rng.normal(size=(50, 7)) * 1000
    shift[0] = 0
    bound = rng.uniform(0, 4, 50)
    moved = bounded(text, shift, bound) * (1 + bound[:, None])
    moved[0] = bounded(text, shift, bound)[0]
    size = np.linalg.norm(moved - text, axis=1) / np.linalg.norm(text, axis=1)
    np.testing.assert_allclose(size[1:], bound[1:], rtol=1e-3, atol=1e-5)
    assert size[0] == 0


def test_an_empty_history_gets_the_words_that_sell() -> None:
    log = world(TEA | HATS, *[(f"c{n}", item, n) for n in range(9) for item in ("t1", "t2")], ("z", "h1", 99))
    model = Content().fit(log, as_of=END)
    stranger = log.histories(["nobody"])
    assert set(names(model, stranger, 3)) == set(TEA)
    assert model.reasons(stranger, row=0, item=0)[0].code == "typical"


def test_items_without_words_are_left_out() -> None:
    log = world({**TEA, "x": ""}, ("a", "t1", 1), ("a", "x", 2))
    model = Content().fit(log, as_of=END)
    assert model.described == pytest.approx(3 / 4)
    assert np.isneginf(model.score(log)[0, list(model.items).index("x")])
    assert model.reasons(log, row=0, item=list(model.items).index("x")) == ()


def test_a_category_is_better_than_no_words_and_nothing_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    shelves = {"t1": "tea", "t2": "tea", "h1": "hats"}
    log = Sequences.from_arrays(list("abc"), item=["t1", "t2", "h1"], at=[1, 2, 3], categories=shelves)
    model = Content().fit(log, as_of=END)
    assert names(model, log.histories(["a"]), 1) == ["t2"]
    with caplog.at_level(logging.WARNING):
        bare = Content().fit(of(("a", "x", 1), ("a", "y", 2)), as_of=END)
    assert "Collect a catalogue" in caplog.text
    assert bare.described == 0
    assert bare.reasons(of(("a", "x", 1)), row=0, item=1)[0].code == "catalogue"


def test_the_reason_is_the_nearest_item_of_the_history(tmp_path: Path) -> None:
    log = world(TEA | HATS, ("a", "h2", 1), ("a", "t1", 2), ("a", "h1", 3))
    model = Content().fit(log, as_of=END)
    [why] = model.reasons(log, row=0, item=list(model.items).index("t2"))
    assert (why.code, why.details["item"]) == ("similar", "t1")
    text = model._text
    cosine = text[0] @ text[1] / np.linalg.norm(text[0]) / np.linalg.norm(text[1])
    [other] = model.reasons(of(("b", "h1", 1)), row=0, item=1)
    assert other.details["similarity"] == pytest.approx(float(cosine), abs=1e-3)
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").reasons(log, row=0, item=1) == model.reasons(log, row=0, item=1)


def test_texts_come_from_the_items_of_the_shop(home: Home) -> None:
    log = sequences(fill(home, random_events(1, 50)).tables, as_of=AS_OF)
    assert log.catalogue.shelves["茶叶"] == "茶 > 绿茶"
    assert log.catalogue.texts["茶叶"].split("\n") == ["品牌", "茶 绿茶"]
    assert log.catalogue.texts["never sold"].endswith("priceband0")
    assert "i-unlisted" not in log.catalogue.texts
    assert log.before(AS_OF).histories(["c-1"]).catalogue is log.catalogue
    model = Content().fit(log, as_of=AS_OF)
    assert 0 < model.described < 1


def test_a_catalogue_is_read_once_and_only_when_asked() -> None:
    calls = []

    def read() -> dict[str, str]:
        calls.append(1)
        return {"x": "tea"}

    column = Column(read)
    log = of(("a", "x", 1))
    assert not calls
    assert column["x"] == "tea"
    assert list(column) == ["x"]
    assert len(column) == 1
    assert len(calls) == 1
    assert log.catalogue.texts == {}


def row(**given: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("title", "title_zh", "title_en", "brand", "description_zh", "description_en", "category", "attributes"))
    return {**empty, **given}


def test_the_words_of_a_row() -> None:
    text = described(row(title="Tea", category="Drinks > Tea", brand="Ye", attributes='{"colour": "green"}'), 3)
    assert text.split("\n") == ["Tea", "Ye", "Drinks Tea", "colour green", "priceband3"]
    assert described(row(), 4) == ""
    assert described(row(title="Tea"), -1) == "Tea"
    assert attributes("not json") == ["not json"]
    assert attributes("[1]") == ["[1]"]


def test_text_is_brought_to_one_form() -> None:
    assert normal("\uff34\uff25\uff21 &amp; Cup") == "tea & cup"
    rows = features(["green tea", "green tea", "wool hat", "!"])
    size = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    np.testing.assert_allclose(size[:3], 1)
    assert (rows[[0]] @ rows[[1]].T).toarray().item() == pytest.approx(1)
    vectors = lsa(["green tea", "green tea", "wool hat"], dims=64, seed=0)
    np.testing.assert_allclose(vectors @ vectors.T, (rows[:3] @ rows[:3].T).toarray(), atol=1e-5)


def test_encoders_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = world(TEA, ("a", "t1", 1))
    with pytest.raises(InputError, match="is no folder"):
        Content(encoder=str(tmp_path / "none")).fit(log, as_of=END)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if it were not installed
    with pytest.raises(InputError, match="pip install sentence-transformers"):
        Content(encoder=str(tmp_path)).fit(log, as_of=END)
    with pytest.raises(InputError, match="Collect a catalogue"):
        Content(encoder=str(tmp_path)).fit(of(("a", "x", 1)), as_of=END)


def test_an_encoder_from_a_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Letters:
        """Stands for a sentence encoder: one axis for texts with a "g", one for the others."""

        def __init__(self, folder: str, *, device: str, local_files_only: bool) -> None:
            assert folder == str(tmp_path)
            assert local_files_only

        def encode(self, texts: list[str], *, normalize_embeddings: bool) -> np.ndarray:
            assert normalize_embeddings
            return np.array([[1.0, 0.0] if "g" in text.lower() else [0.0, 1.0] for text in texts])

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Letters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    log = world({"x": "green", "y": "grey", "z": "blue"}, ("a", "x", 1))
    model = Content(encoder=str(tmp_path), bound=0.0).fit(log, as_of=END)
    assert model._text.shape == (3, 2)
    assert names(model, log, 1) == ["y"]
