"""Two real servers with a model of our own: llama.cpp's enforces a JSON schema, ``transformers serve`` ignores it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_model
from compose_kit import NOW, coupon, facts, item

from tradewind.compose.base import Brief
from tradewind.compose.chat import Chat
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.library import load
from tradewind.compose.writing import Text, write
from tradewind.engine.ledger import Ledger
from tradewind.engine.models import ChatModel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
FACTS = {locale: facts(item("mug-1"), coupon(), locale=locale) for locale in ("en", "zh-CN")}
PLACES = [(locale, channel) for locale in FACTS for channel in ("email", "push", "sms", "inapp")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def enforcing(tiny: Path) -> Iterator[str]:
    """llama.cpp's own server, in this process."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tiny / "tiny.gguf")
    parameters.hostnames, parameters.port = ["127.0.0.1"], free_port()
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = tiny_model.CONTEXT, 1, 0
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture(scope="module")
def ignoring(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``transformers serve`` in a process of its own."""
    home, port = tmp_path_factory.mktemp("hub"), free_port()
    (home / "hub").mkdir()
    command = [Path(sys.executable).with_name("transformers"), "serve", tiny, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with (
        (home / "log.txt").open("wb") as log,
        subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            for _ in range(600):
                assert process.poll() is None, (home / "log.txt").read_text()[-2000:]
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def texts(chat: Chat) -> list[Text]:
    written = [write(Brief("d1", channel, locale), facts=FACTS[locale], seed=1, at=NOW, writer=chat) for locale, channel in PLACES]
    for text, (locale, channel) in zip(written, PLACES, strict=True):
        assert text.withheld is None
        assert not blocked(Guard().check(text.parts, facts=text.facts, locale=locale, channel=channel))
    return written


def test_a_server_that_enforces_the_schema_chooses_the_words(enforcing: str, ledger: Ledger) -> None:
    chat = Chat(ChatModel(enforcing, "tiny", mode="choose", candidates=2, seconds=60), ledger=ledger, now=NOW)
    for text, (locale, _) in zip(texts(chat), PLACES, strict=True):
        assert text.draft is not None
        assert text.draft.writer == "chat", text.facts.fallbacks
        assert set(text.draft.components) <= set(load(locale).by_id)
    assert chat.counts["calls"] == len(PLACES)
    spent = chat.purse.spending()
    assert (spent.calls, spent.held) == (len(PLACES), 0)
    assert spent.tokens_in > spent.tokens_out > 0, "the server's own count"


def test_what_a_random_model_writes_itself_gives_way_to_components(enforcing: str, ledger: Ledger) -> None:
    """The schema holds, the words are noise: what does not end in time is cut, and the server says 500."""
    chat = Chat(ChatModel(enforcing, "tiny", unseen=True, candidates=1, max_tokens=200, seconds=60), ledger=ledger, now=NOW)
    for text in texts(chat):
        assert text.draft is not None
        gave_way = [note for note in text.facts.fallbacks if note.startswith("chat: ")]
        assert text.draft.writer == ("components" if gave_way else "chat")
    assert chat.counts["calls"] >= 1


def test_a_server_that_ignores_the_schema_is_found_out(ignoring: str, tiny: Path, ledger: Ledger) -> None:
    chat = Chat(ChatModel(ignoring, str(tiny), mode="choose", candidates=2, max_tokens=48, seconds=120), ledger=ledger, now=NOW)
    for text in texts(chat):
        assert text.draft is not None
        assert text.draft.writer == "components"
        assert text.facts.fallbacks[-1].startswith("chat: ")
    reasons = {why for why in chat.counts if why.startswith("failed: ")}
    assert reasons <= {"failed: the answer is not of the schema", "failed: the answer was cut", "failed: the server rests after failures"}
    assert reasons != {"failed: the server rests after failures"}, "the server did answer, with status 200"
    assert chat.purse.spending().tokens_out > 0


def test_a_server_that_does_not_know_the_model_is_a_clear_reason(ignoring: str, ledger: Ledger) -> None:
    chat = Chat(replace(ChatModel(ignoring, "no-such-model"), seconds=60), ledger=ledger, now=NOW)
    for text in texts(chat):
        assert text.facts.fallbacks[-1].startswith("chat: the server ")
