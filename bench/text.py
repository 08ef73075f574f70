"""Reviews: sentiment in Chinese and English beside a TF-IDF logistic regression, how sure it is, and how fast.

Chinese: ten shop categories, 62,724 different reviews, five folds (accuracy, by the verdict without a band). English: clothing
reviews, recommended or not by the text alone, five folds (AUC). Both beside scikit-learn's TF-IDF of words with a logistic
regression on the same folds. Then calibration, what the band leaves undecided, and reviews scored a second by one core.

    python bench/text.py [--quick] [--path FILE]    # FILE: CSV (or a zip of one) with columns review and label (1 praise, 0 blame)
    python bench/text.py --nets cnn|lstm|transformer|all [--folds N]  # nets beside the linear judge, on the first N of the five folds
    python bench/text.py --products [--path FILE]   # near-duplicate titles, attributes and categories of catalogues (CSV with a title)
    python bench/text.py --images                   # near-duplicate pictures and colours, on drawn pictures
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._text_grams import is_chinese, normalise, words
from tradewind.learn.sentiment import Sentiment
from tradewind.learn.text_net import CELLS, TextNet
from tradewind.stats.binary import auc

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
FOLDS = 5
Labels = NDArray[np.int8]


def table(path: Path) -> list[dict[str, str]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            data = packed.read(next(name for name in packed.namelist() if name.endswith(".csv")))
    else:
        data = path.read_bytes()
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def labelled(path: Path, text: str, label: str) -> tuple[list[str], Labels]:
    """Different texts with their labels, in the order of the file."""
    rows = table(path)
    if not rows or text not in rows[0] or label not in rows[0]:
        raise InputError(f'{path} needs columns "{text}" and "{label}"; it has {list(rows[0]) if rows else "no rows"}.')
    seen = {row[text].strip(): int(row[label]) for row in reversed(rows) if row[text].strip()}
    return list(seen)[::-1], np.fromiter(list(seen.values())[::-1], dtype=np.int8)


def judged(bench: Harness, name: str, texts: Sequence[str], y: Labels, *, targets: dict[str, tuple[str, float]]) -> None:
    """Five folds of ours and of the plain regression."""
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    praise, plain = np.empty(len(y)), np.empty(len(y))
    for each in range(FOLDS):
        train, test = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        model = Sentiment().fit([texts[i] for i in train], y[train] == 1)
        praise[test] = model.predict([texts[i] for i in test]).praise
        plain[test] = _plain([texts[i] for i in train], y[train], [texts[i] for i in test])
    accuracy = float(((praise > 0.5) == (y == 1)).mean())
    bench.figure(f"{name}_reviews", len(y))
    bench.figure(f"{name}_accuracy", accuracy, target=targets.get("accuracy"))
    bench.figure(f"{name}_accuracy_tfidf_regression", float(((plain > 0.5) == (y == 1)).mean()))
    ours, theirs = auc(y.astype(float), praise), auc(y.astype(float), plain)
    bench.figure(f"{name}_auc", ours)
    bench.figure(f"{name}_auc_tfidf_regression", theirs)
    bins = np.clip((praise * 10).astype(int), 0, 9)
    gaps = [abs(praise[bins == b].mean() - y[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any()]
    bench.figure(f"{name}_calibration_error", float(sum(gaps)))
    sure = np.abs(praise - 0.5) > Sentiment().band
    bench.figure(f"{name}_undecided_share", float(1 - sure.mean()))
    bench.figure(f"{name}_accuracy_where_decided", float(((praise > 0.5) == (y == 1))[sure].mean()))


def nets(bench: Harness, name: str, texts: Sequence[str], y: Labels, *, targets: dict[str, tuple[str, float]]) -> None:
    """The first folds of the five: nets and the linear judge, each learning from the same four fifths."""
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    asked = CELLS if bench.arguments.nets == "all" else (bench.arguments.nets,)
    judged_folds = range(bench.arguments.folds)
    test_of = {each: np.flatnonzero(fold == each) for each in judged_folds}
    bench.figure(f"{name}_folds_judged", len(judged_folds))
    bench.figure(f"{name}_texts_judged", sum(map(len, test_of.values())))
    for kind in ("linear", *asked):
        praise, fit_cpu, scored_cpu = np.empty(len(y)), 0.0, 0.0
        for each, test in test_of.items():
            train = np.flatnonzero(fold != each)
            model = Sentiment() if kind == "linear" else TextNet(cell=kind)
            with clock() as taken:
                model.fit([texts[i] for i in train], y[train] == 1)
            fit_cpu += taken["cpu"]
            with clock() as taken:
                praise[test] = model.predict([texts[i] for i in test]).praise
            scored_cpu += taken["cpu"]
            if isinstance(model, TextNet):
                print(f"  {kind}: best after {model.trained} epochs, held-out loss {', '.join(f'{loss:.4f}' for loss in model.curve)}")
        some = np.concatenate(list(test_of.values()))
        right = float(((praise[some] > 0.5) == (y[some] == 1)).mean())
        bench.figure(f"{name}_{kind}_accuracy", right, target=targets.get(kind))
        bench.figure(f"{name}_{kind}_auc", auc(y[some].astype(float), praise[some]))
        bench.figure(f"{name}_{kind}_fit_cpu_s_a_fold", fit_cpu / len(judged_folds))
        bench.figure(f"{name}_{kind}_scored_a_second_a_core", len(some) / scored_cpu)


def _plain(train: list[str], y: Labels, test: list[str]) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    chinese = is_chinese("".join(train[:200]))
    vectors = TfidfVectorizer(analyzer=lambda text: words(normalise(text))) if chinese else TfidfVectorizer()
    model = LogisticRegression(C=4.0, max_iter=200).fit(vectors.fit_transform(train), y)
    return np.asarray(model.predict_proba(vectors.transform(test))[:, 1])


def speed(bench: Harness, texts: Sequence[str], y: Labels) -> None:
    model = Sentiment().fit(texts[:5_000], y[:5_000] == 1)
    many = list(texts[:20_000])
    model.predict(many[:100])
    with clock() as taken:
        model.predict(many)
    bench.figure("reviews_scored_a_second_a_core", len(many) / taken["cpu"], target=(">=", 10_000.0))


def main() -> None:
    extra = {
        "--nets": {"choices": (*CELLS, "all"), "help": "judge these nets beside the linear judge"},
        "--folds": {"type": int, "default": 1, "choices": range(1, FOLDS + 1), "help": "with --nets: how many of the five folds"},
    }
    bench = Harness("text", __doc__, extra=extra)
    sentiment(bench)


def sentiment(bench: Harness) -> None:
    """The linear judge in five folds, or with ``--nets`` nets beside it."""
    judge = nets if bench.arguments.nets else judged
    if bench.arguments.path:
        texts, y = labelled(bench.arguments.path, "review", "label")
        judge(bench, "own", texts, y, targets={})
        speed(bench, texts, y)
        bench.finish()
        return
    chinese, english = DATA / "chinese_reviews" / "online_shopping_10_cats.zip", DATA / "womens_clothing_reviews" / "reviews.csv"
    for path in (chinese, english):
        if not path.exists():
            print(f"left out: {path} is not there; set TRADEWIND_DATA or give --path")
            return
    texts, y = labelled(chinese, "review", "label")
    if bench.quick:
        some = np.random.default_rng(1).permutation(len(y))[:6_000]
        texts, y = [texts[i] for i in some], y[some]
    judge(bench, "chinese", texts, y, targets={} if bench.arguments.nets else {"accuracy": (">=", 0.939)})
    if not bench.arguments.nets:
        speed(bench, texts, y)
    texts, y = labelled(english, "Review Text", "Recommended IND")
    judge(bench, "english", texts[: 4_000 if bench.quick else None], y[: 4_000 if bench.quick else None], targets={})
    bench.finish()


if __name__ == "__main__":
    main()
