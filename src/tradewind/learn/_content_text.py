"""Texts as vectors: hashed words and character n-grams in latent semantic analysis, or a local sentence encoder."""

from __future__ import annotations

import html
import importlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn.encoders import FOLDER, HTTP, text_encoder

HASHED = 2**18
MANY = 1000  # items above which a feature of a single item is dropped: it links nothing and costs memory


def normal(text: str) -> str:
    """Lower case, one form per character (full-width letters become plain ones), HTML entities resolved."""
    return unicodedata.normalize("NFKC", html.unescape(text)).lower()


def features(texts: Sequence[str]) -> Any:
    """TF-IDF of words and word pairs and of 2 to 4 characters, each half of unit length; sparse float64 [I, F], rows of length 1.

    Character n-grams need no segmentation, so Chinese works like English.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.preprocessing import normalize

    cleaned = [normal(text) for text in texts]
    parts = []
    for options in (
        {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
        {"analyzer": "char_wb", "ngram_range": (2, 4)},
    ):
        counts = HashingVectorizer(n_features=HASHED, alternate_sign=False, norm=None, lowercase=False, **options).transform(cleaned)
        columns = np.bincount(counts.indices, minlength=HASHED)
        counts = counts[:, np.flatnonzero(columns >= (2 if len(texts) > MANY else 1))]
        if counts.shape[1]:
            parts.append(TfidfTransformer(sublinear_tf=True).fit_transform(counts))
    return normalize(csr_matrix(hstack(parts))) if parts else csr_matrix((len(texts), 1))


def lsa(texts: Sequence[str], *, dims: int, seed: int) -> NDArray[np.float32]:
    """The features in their ``dims`` strongest directions at most, float32 [I, d]; lengths are kept, at most 1.

    Deerwester et al. 1990. A text that says only what no other says is near zero.
    """
    from sklearn.utils.extmath import randomized_svd

    found = features(texts)
    left, strength, _ = randomized_svd(found, n_components=min(dims, *found.shape), n_iter=2, random_state=seed)
    vectors: NDArray[np.float32] = (left * strength).astype(np.float32)
    return vectors


def encode(texts: Sequence[str], folder: str) -> NDArray[np.float32]:
    """Unit vectors of the texts by the sentence-transformers model in ``folder``, or by what another slot of ``encoders`` names;
    float32 [I, d]; nothing is downloaded.

    Raises
    ------
    InputError
        The folder is not there, or the library is not installed.
    """
    if folder.startswith((FOLDER, *HTTP)):
        return text_encoder(folder).encode(texts)
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"content: encoder={folder!r} is no folder. Name one with a saved sentence-transformers model, or leave it out.")
    try:
        library = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise InputError(
            "content: an encoder needs the library sentence-transformers. Run `pip install sentence-transformers`, or leave encoder out."
        ) from error
    model = library.SentenceTransformer(str(path), device="cpu", local_files_only=True)
    vectors: NDArray[np.float32] = np.array(model.encode(list(texts), normalize_embeddings=True), dtype=np.float32)
    return vectors
