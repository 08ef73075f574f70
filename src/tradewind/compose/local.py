"""The writer that runs a causal language model from a folder of this machine, its every token masked by the grammar of the answer.

A JSON schema becomes a token mask per step (llguidance), so that the answer has the asked shape, only slots with facts and no digit: a
model cannot leave the grammar, it can only write badly within it, and what it wrote is judged like any other answer. The folder is
loaded without any download. A model in GGUF form is better served by llama.cpp's own server and ``writer="chat"``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tradewind.compose._chat_wire import Failed
from tradewind.compose._copy_ask import Ask
from tradewind.compose._copy_asking import Asking
from tradewind.compose.approval import Approvals
from tradewind.compose.components import Components
from tradewind.compose.guard import Guard
from tradewind.engine.ledger import Ledger
from tradewind.engine.models import LocalModel
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.engine.home import Home

MISSING = 'The writer "local" needs transformers, llguidance and PyTorch. Install them with: pip install "tradewind[local]"'
SETUP = """The writer "local" needs a model. Put into tradewind.toml, for example:
[local]
path = "/models/name-of-the-model"
See docs/writers.md."""
LETTERS = {"en": "[A-Za-z]", "zh-CN": "[\\u4e00-\\u9fff]"}
BETWEEN = {"en": "(?:[,;:]? |-|')", "zh-CN": "[\\uff0c\\u3001\\uff1a]"}
END = {"en": "[.!?]?", "zh-CN": "[\\u3002\\uff01\\uff1f]?"}
TEMPERATURE = 0.8


class Local(Asking):
    """Runs the model of ``[local]``. When not to use: on a CPU with more than a few hundred million parameters, it is slow."""

    name = "local"

    def __init__(
        self,
        model: LocalModel,
        *,
        ledger: Ledger,
        now: datetime,
        guard: Guard | None = None,
        components: Components | None = None,
        approvals: Approvals | None = None,
    ) -> None:
        super().__init__(
            model, identity=identity(model.path), ledger=ledger, now=now, guard=guard, components=components, approvals=approvals
        )
        self.model = model
        self._loaded: _Loaded | None = None

    @classmethod
    def open(cls, home: Home, *, now: datetime) -> Self:
        """The writer that ``[local]`` of ``tradewind.toml`` describes.

        Raises
        ------
        InputError
            There is no such table, no such folder, or a package is missing; it says what to do.
        """
        if home.settings.local is None:
            raise InputError(SETUP)
        return cls(
            home.settings.local,
            ledger=home.ledger,
            now=now,
            guard=Guard(own=home.root / "packs"),
            components=Components.open(home, now=now),
            approvals=Approvals(home),
        )

    def _answer(self, asked: Ask) -> str:
        if self._loaded is None:
            self._loaded = _Loaded(self.model)
        self.counts["calls"] += 1
        return self._loaded.write(asked, max_tokens=self.model.max_tokens)


def identity(path: str) -> str:
    """A name for the model in a folder that changes with its files; raises InputError where there is none."""
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise InputError(f'local.path: "{path}" is no folder with a model (it has no config.json). Save one there with transformers.')
    sizes = sorted((file.name, file.stat().st_size) for file in folder.iterdir() if file.is_file())
    digest = hashlib.sha256((folder / "config.json").read_bytes() + repr(sizes).encode())
    return f"{folder.name[:200]}@{digest.hexdigest()[:16]}"


def bounded(asked: Ask) -> dict[str, Any]:
    """The schema of a question, its free texts held to words, slots with facts and the marks between them."""
    schema: dict[str, Any] = json.loads(json.dumps(asked.schema))
    schema["x-guidance"] = {"whitespace_flexible": False}
    texts = schema["properties"]["candidates"]["items"]["properties"]
    for role, columns, slots, among in asked.roles:
        if not among:
            texts[role]["pattern"] = pattern(slots, columns, asked.locale)
    return schema


def pattern(slots: Sequence[str], columns: int, locale: str) -> str:
    """A regular expression of templates: no digit, no brace but those of ``slots``, about ``columns`` wide at most."""
    width = 2 if locale == "zh-CN" else 1
    longest = max(columns // (width * 6), 1)  # words of up to six characters
    slot = "|".join(rf"\{{{re.escape(name)}\}}" for name in slots)
    word = rf"(?:{LETTERS[locale]}{{1,6}}{'|' if slot else ''}{slot})"
    return f"^{word}(?:{BETWEEN[locale]}{word}){{0,{longest - 1}}}{END[locale]}$"


class _Loaded:
    """A model in memory, and its tokenizer twice: as transformers and as the grammar knows it."""

    def __init__(self, model: LocalModel) -> None:
        try:
            import llguidance.hf
            import torch
            import transformers
        except ImportError as error:
            raise InputError(MISSING) from error
        from tradewind.engine.training import device_of

        self.torch, self.device = torch, device_of(model.device)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model.path, local_files_only=True)
            self.model = transformers.AutoModelForCausalLM.from_pretrained(model.path, local_files_only=True).to(self.device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f'local.path: the model in "{model.path}" cannot be loaded: {str(error)[:200]}') from error
        self.vocabulary = int(self.model.config.get_text_config().vocab_size)
        self.grammar_tokens = llguidance.hf.from_tokenizer(self.tokenizer, n_vocab=self.vocabulary)

    def write(self, asked: Ask, *, max_tokens: int) -> str:
        """Sample an answer within the grammar, the same one for the same question; raises Failed where it does not end in time."""
        import llguidance
        import llguidance.torch as masks

        torch = self.torch
        matcher = llguidance.LLMatcher(self.grammar_tokens, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(bounded(asked))))
        if matcher.is_error():
            raise Failed(f"the grammar cannot be used: {matcher.get_error()[:80]}", again=False)
        generator = torch.Generator().manual_seed(int(asked.key("")[:15], 16))
        made: list[int] = []
        tokens, past = self._prompt(asked), None
        mask = masks.allocate_token_bitmask(1, self.vocabulary)
        with torch.inference_mode():
            while not matcher.is_stopped():
                if len(made) >= max_tokens:
                    raise Failed("the answer was cut", again=False)
                out = self.model(input_ids=tokens, past_key_values=past, use_cache=True)
                past, logits = out.past_key_values, out.logits[:, -1, : self.vocabulary].float().cpu()
                masks.fill_next_token_bitmask(matcher, mask, 0)
                masks.apply_token_bitmask_inplace(logits, mask)
                token = int(torch.multinomial(torch.softmax(logits[0] / TEMPERATURE, -1), 1, generator=generator).item())
                if not matcher.consume_token(token):
                    raise Failed("the grammar was left", again=False)
                made.append(token)
                tokens = torch.tensor([[token]], device=self.device)
        text: str = self.tokenizer.decode(made, skip_special_tokens=True)
        return text

    def _prompt(self, asked: Ask) -> Any:
        messages = asked.body("", max_tokens=0)["messages"]
        if self.tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
            return self.tokenizer(text, return_tensors="pt")["input_ids"].to(self.device)
        found = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        return found["input_ids"].to(self.device)


PLUGIN = Local
