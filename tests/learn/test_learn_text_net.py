"""Judges of texts beside the linear one: nets, encoders from a folder and from a server, and the slot that chooses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_kit import AS_OF, event, fill

from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFitted, StateError, Transient
from tradewind.learn import reviews
from tradewind.learn._encoder_http import KEY, HttpEncoder
from tradewind.learn._text_classifier import TextClassifier
from tradewind.learn._text_tokens import LENGTH, UNKNOWN, Tokens
from tradewind.learn.encoders import FolderEncoder, text_encoder
from tradewind.learn.sentiment import Sentiment
from tradewind.learn.text_encoded import EncodedText, stored_classifier, text_classifier
from tradewind.learn.text_net import CELLS, TextNet

PRAISE = ["great {}, love it", "the {} is excellent", "perfect {}", "{}很好\uff0c喜欢", "非常满意的{}", "nice {} and soft"]
BLAME = ["awful {}, sent back", "the {} broke at once", "terrible {}", "{}太差了\uff0c失望", "垃圾{}\uff0c退货", "bad {} and rough"]
THINGS = ["mug", "coat", "lamp", "book", "shirt", "soap", "杯子", "外套", "台灯", "书", "衬衫", "香皂"]
TEXTS = [pattern.format(thing) for pattern in (*PRAISE, *BLAME) for thing in THINGS]
LABELS = [True] * (len(TEXTS) // 2) + [False] * (len(TEXTS) // 2)
NEW = ["love this excellent chair", "terrible chair, broke", "椅子很好喜欢", "椅子太差了"]


@pytest.fixture(scope="module", params=CELLS)
def net(request: pytest.FixtureRequest) -> TextNet:
    return TextNet(cell=request.param, dim=16, dropout=0.1, lr=1e-2, epochs=12).fit(TEXTS, LABELS)


def test_a_net_learns_keeps_and_explains(net: TextNet, tmp_path: Path) -> None:
    found = net.predict([*NEW, ""])
    assert found.verdict.tolist() == [1, -1, 1, -1, 0]
    assert found.praise[4] == 0.5
    assert net.because("the lamp broke at once")[0][1] < 0
    net.save(tmp_path)
    kept = stored_classifier(tmp_path)
    assert isinstance(kept, TextNet)
    assert kept.cell == net.cell
    assert np.array_equal(kept.predict(NEW).praise, net.predict(NEW).praise)


def test_the_neighbours_of_a_text_change_nothing(net: TextNet) -> None:
    alone = [net.predict([text]).praise[0] for text in NEW]
    beside = net.predict([*NEW, "a text that is very much longer than all of the others " * 5]).praise[:4]
    assert np.allclose(alone, beside, atol=1e-5)


def test_the_same_seed_gives_the_same_net_and_leaves_the_callers_seed_alone() -> None:
    import torch

    def fitted(seed: int) -> Any:
        return TextNet(dim=8, epochs=2, seed=seed).fit(TEXTS, LABELS).predict(NEW).praise

    torch.manual_seed(5)
    first = fitted(1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert np.array_equal(first, fitted(1))
    assert not np.array_equal(first, fitted(2))


def test_training_stops_early_and_keeps_the_best() -> None:
    nothing = np.random.default_rng(3).permutation(LABELS)  # nothing can be learned of the held-out texts
    found = TextNet(dim=16, dropout=0.0, lr=5e-2, epochs=60).fit(TEXTS, nothing)
    assert len(found.curve) < 60
    assert found.trained == int(np.argmin(found.curve)) + 1


def test_tokens_are_words_then_letters_and_long_texts_keep_both_ends() -> None:
    tokens = Tokens(["lamp", "好", "亮"])
    assert tokens.rows(["lamp 好亮 zzz", ""]).tokens.tolist() == [2, 3, 4, UNKNOWN]
    many = Tokens([f"w{n}" for n in range(300)])
    row = many.rows([" ".join(f"w{n}" for n in range(300))])
    assert len(row.tokens) == LENGTH
    assert (row.tokens[0], row.tokens[-1]) == (2, 301)
    assert tokens.rows([]).padded(np.empty(0, np.int64)).shape == (0, 1)


@pytest.mark.parametrize("made", [TextNet(cell="cnn"), EncodedText("directory:x"), Sentiment()])
def test_all_judges_hold_to_one_contract(made: TextClassifier, tmp_path: Path) -> None:
    with pytest.raises(NotFitted):
        made.predict(["a"])
    with pytest.raises(NotFitted):
        made.save(tmp_path)
    with pytest.raises(InputError, match="one label per text"):
        made.fit(["a"], [])
    with pytest.raises(InputError, match="50 different texts"):
        made.fit(["a", "b"], [True, False])
    made.band = 0.7
    with pytest.raises(InputError, match="band"):
        made.fit(TEXTS, LABELS)


def test_slots() -> None:
    assert isinstance(text_classifier(), Sentiment)
    assert [text_classifier(cell).cell for cell in CELLS] == list(CELLS)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no judge of texts 'bert'"):
        text_classifier("bert")
    with pytest.raises(InputError, match="no encoder 'bert'"):
        text_encoder("bert")


def test_a_folder_without_a_judge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no judge of texts in"):
        stored_classifier(tmp_path)


def test_a_shop_says_in_its_settings_who_judges(tmp_path: Path) -> None:
    moment = AS_OF - timedelta(days=3)
    with Home.open(tmp_path / "shop") as home:
        replace(home.settings, text_model="cnn").save(home.root)
    with Home.open(tmp_path / "shop") as home:
        rows = [
            event(n, moment, kind="review", item="i1", text=text, rating=5.0 if good else 1.0)
            for n, (text, good) in enumerate(zip(TEXTS, LABELS, strict=True))
        ]
        fill(home, rows)
        section = reviews.learn(home, as_of=AS_OF, now=AS_OF)
        assert "own stars by cnn" in section.text[0]
        assert isinstance(reviews.loaded(home, as_of=AS_OF).model, TextNet)
        replace(home.settings, text_model="directory:nowhere").save(home.root)
    with Home.open(tmp_path / "shop") as home, pytest.raises(InputError, match=r"no config\.json"):
        reviews.learn(home, as_of=AS_OF, now=AS_OF)


# ---- an encoder from a folder --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer with random weights, and letters as its vocabulary."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("bert")
    letters = sorted({letter for text in [*TEXTS, *NEW] for letter in text.lower()} | set("abcdefghijklmnopqrstuvwxyz"))
    words = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(path)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=64,
        )
    ).save_pretrained(path)  # fmt: skip
    return path


def test_a_folder_gives_unit_vectors_whatever_stands_beside(folder: Path) -> None:
    encoder = FolderEncoder(folder)
    texts = ["a lamp", "", "椅子很好喜欢", "long " * 200]
    found = encoder.encode(texts)
    assert found.shape == (4, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[::-1], encoder.encode(texts[::-1]), atol=1e-5)
    np.testing.assert_allclose(found[:1], encoder.encode(texts[:1]), atol=1e-5)
    assert encoder.encode([]).shape == (0, 32)


def test_a_folder_may_say_that_the_first_token_counts(folder: Path, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "cls"
    shutil.copytree(folder, path)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    one, other = FolderEncoder(folder).encode(["a lamp"]), FolderEncoder(path).encode(["a lamp"])
    assert not np.allclose(one, other)


def test_a_judge_on_a_folder_learns_and_is_bound_to_it(folder: Path, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "model"
    shutil.copytree(folder, path)
    made = text_classifier(f"directory:{path}").fit(TEXTS, LABELS)
    found = made.predict([*TEXTS, ""])
    assert ((found.praise[:-1] > 0.5) == np.array(LABELS)).mean() > 0.9  # random weights, yet letters tell these apart
    assert found.praise[-1] == 0.5
    made.save(tmp_path / "kept")
    kept = stored_classifier(tmp_path / "kept")
    assert np.allclose(kept.predict(NEW).praise, made.predict(NEW).praise)
    (path / "config.json").write_text((path / "config.json").read_text() + " ")
    with pytest.raises(StateError, match="Run learn again"):
        stored_classifier(tmp_path / "kept").predict(NEW)


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        text_encoder(f"directory:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        text_encoder(f"directory:{tmp_path}")


# ---- an encoder behind an address ----------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fault = ""
    asked: list[tuple[dict[str, str], dict[str, Any]]]


class _Handler(BaseHTTPRequestHandler):
    """Counts letters: a vector per text, in turned order as the wire format allows."""

    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((dict(self.headers), body))
        rows = [
            {"object": "embedding", "index": n, "embedding": [1.0 + text.count(letter) for letter in "aeogt很好太差"]}
            for n, text in enumerate(body["input"])
        ][::-1]
        status, answer = 200, json.dumps({"object": "list", "data": rows}).encode()
        match self.server.fault:
            case "busy" if len(self.server.asked) < 3:
                status, answer = 429, b"{}"
            case "down":
                status = 500
            case "denied":
                status = 401
            case "moved":
                status = 302
            case "short":
                answer = json.dumps({"data": rows[1:]}).encode()
            case "odd":
                answer = json.dumps({"data": [{"index": n, "embedding": [None]} for n in range(len(rows))]}).encode()
            case "html":
                answer = b"<html>hello</html>"
            case "half":
                answer = answer[:-5]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(answer) + (50 if self.server.fault == "half" else 0)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@contextmanager
def serving(fault: str = "") -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.fault, server.asked = fault, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def slot(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1#letters"


def test_an_address_gives_unit_vectors_in_the_order_of_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    with serving() as server:
        found = text_encoder(slot(server)).encode(["aaa", "e", ""] * 30)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found[0].argmax() == 0
    assert found[1].argmax() == 1
    assert np.array_equal(found[:3], found[87:])
    assert len(server.asked) == 2
    headers, body = server.asked[0]
    assert (body["model"], headers["Authorization"]) == ("letters", "Bearer secret")
    assert len(body["input"]) == 64


def test_a_judge_behind_an_address(tmp_path: Path) -> None:
    with serving() as server:
        made = text_classifier(slot(server)).fit(TEXTS, LABELS)
        assert made.predict(["很好很好", "太差太差"]).verdict.tolist() == [1, -1]
        made.save(tmp_path)
        assert np.allclose(stored_classifier(tmp_path).predict(NEW).praise, made.predict(NEW).praise)


def test_a_busy_server_is_asked_again() -> None:
    waits: list[float] = []
    with serving("busy") as server:
        assert HttpEncoder(slot(server), pause=waits.append).encode(["a"]).shape == (1, 9)
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    ("fault", "error", "tries", "message"),
    [
        ("down", Transient, 3, "status 500"),
        ("denied", Transient, 1, "status 401"),
        ("moved", Transient, 1, "status 302"),
        ("half", Transient, 3, "IncompleteRead|timed out"),
        ("short", InputError, 1, "one vector per text"),
        ("odd", InputError, 1, "one vector per text"),
        ("html", InputError, 1, "one vector per text"),
    ],
)
def test_servers_that_misbehave(fault: str, error: type[Exception], tries: int, message: str) -> None:
    with serving(fault) as server, pytest.raises(error, match=message):
        HttpEncoder(slot(server), pause=lambda _: None, seconds=5.0).encode(["a", "b"])
    assert len(server.asked) == tries


def test_addresses_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("http://127.0.0.1/v1", "http:///v1#m", "http://a@b/v1#m", "http://h:x/v1#m"):
        with pytest.raises(InputError, match="looks like"):
            text_encoder(wrong)
    monkeypatch.setenv(KEY, "secret")
    with pytest.raises(InputError, match="unencrypted"):
        text_encoder("http://models.example/v1#m")
    with pytest.raises(Transient, match="does not answer"):
        HttpEncoder("http://127.0.0.1:1/v1#m", pause=lambda _: None).encode(["a"])
