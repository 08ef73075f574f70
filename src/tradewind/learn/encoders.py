"""Texts as unit vectors by a model that the shop brings: a folder of this machine, or a server of its own or another's.

    directory:/models/bge-small-zh              a folder as transformers or sentence-transformers saves it; nothing is downloaded
    http://127.0.0.1:8080/v1#bge-m3             any server with OpenAI's embeddings call; the model's name stands behind the #

A key is read from the environment variable ``TRADEWIND_ENCODER_KEY`` and never stored. What is encoded travels to the server: texts
of reviews and products, nothing that names a customer (unless a customer wrote a name into a review).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Vectors = NDArray[np.float32]
TOKENS = 256  # of a text; what stands behind is not read
BATCH = 32
FOLDER, HTTP = "directory:", ("http://", "https://")
MISSING = 'An encoder from a folder needs transformers and PyTorch. Install them with: pip install "tradewind[local]"'


class TextEncoder(Protocol):
    """``encode`` gives unit vectors float32 [N, d]; ``identity`` changes when the vectors may."""

    identity: str

    def encode(self, texts: Sequence[str]) -> Vectors: ...


def text_encoder(slot: str) -> TextEncoder:
    """The encoder that a slot names: ``directory:PATH`` or an address ``http://HOST/v1#MODEL``.

    Raises
    ------
    InputError
        The slot is neither, the folder holds no model, or a package is missing.
    """
    if slot.startswith(FOLDER):
        return FolderEncoder(slot.removeprefix(FOLDER))
    if slot.startswith(HTTP):
        from tradewind.learn._encoder_http import HttpEncoder

        return HttpEncoder(slot)
    raise InputError(f'There is no encoder {slot!r}. Allowed: "directory:PATH", or an address such as "http://127.0.0.1:8080/v1#MODEL".')


class FolderEncoder:
    """A transformer encoder from a folder. Its words' vectors are averaged, or the first is taken where the folder says so.

    When not to use: for a model whose card asks for a prefix before each text; such a prefix is not added.
    """

    def __init__(self, folder: str | Path) -> None:
        self.identity = identity(folder)
        try:
            import torch
            import transformers
        except ImportError as error:
            raise InputError(MISSING) from error
        path = str(folder)
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
            self._model = transformers.AutoModel.from_pretrained(path, local_files_only=True).float().eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f'The model in "{path}" cannot be loaded: {str(error)[:200]}') from error
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        if self._tokenizer.pad_token is None:
            raise InputError(f'The tokenizer in "{path}" has no token for padding. Save one with it.')
        self._first = _takes_first(Path(folder))
        places = getattr(self._model.config, "max_position_embeddings", TOKENS)
        self._length = min(TOKENS, int(places) - 2)  # some families lose two places to padding
        self._torch = torch

    def encode(self, texts: Sequence[str]) -> Vectors:
        """float32 [N, d], each of length one; a text without any token is all zeros."""
        from tradewind.engine.training import alone

        order = np.argsort([len(text) for text in texts], kind="stable")
        parts: list[Vectors] = []
        with alone(), self._torch.inference_mode():
            for start in range(0, len(order), BATCH):
                some = [texts[int(i)] or " " for i in order[start : start + BATCH]]
                parts.append(self._pooled(some))
        found = np.concatenate(parts) if parts else np.empty((0, int(self._model.config.hidden_size)), np.float32)
        return unit(found[np.argsort(order, kind="stable")])

    def _pooled(self, texts: list[str]) -> Vectors:
        asked = self._tokenizer(texts, padding=True, truncation=True, max_length=self._length, return_tensors="pt")
        states: Tensor = self._model(input_ids=asked["input_ids"], attention_mask=asked["attention_mask"]).last_hidden_state
        mask: Tensor = asked["attention_mask"][:, :, None].to(states.dtype)
        pooled = states[:, 0] if self._first else (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return np.asarray(pooled.numpy(), dtype=np.float32)


def identity(folder: str | Path) -> str:
    """A name for the model in a folder that changes with its files; raises InputError where there is none."""
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise InputError(f'"{path}" is no folder with a model (it has no config.json). Save one there with transformers.')
    sizes = sorted((file.name, file.stat().st_size) for file in path.iterdir() if file.is_file())
    digest = hashlib.sha256((path / "config.json").read_bytes() + repr(sizes).encode())
    return f"{path.name[:200]}@{digest.hexdigest()[:16]}"


def _takes_first(folder: Path) -> bool:
    """Whether a sentence-transformers folder says that the first token's vector is the text's."""
    try:
        told: dict[str, Any] = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return bool(told.get("pooling_mode_cls_token"))


def unit(rows: Vectors) -> Vectors:
    """Rows of length one; a row of zeros stays."""
    found: Vectors = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return found
