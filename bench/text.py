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
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _drawn
import _products
import numpy as np
from _harness import ROOT, Harness, clock
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn import images
from tradewind.learn._pictures import Picture, opened
from tradewind.learn._text_grams import is_chinese, normalise, words
from tradewind.learn.product_duplicates import near_duplicates
from tradewind.learn.product_text import SURE, AttributeReader, CategoryReader, stated, whole
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


def duplicates(bench: Harness, name: str, titles: Sequence[str]) -> None:
    """A tenth of the titles entered again and a tenth as variants, among all the others, whose truth nobody knows."""
    rng = np.random.default_rng(bench.arguments.seed)
    different = list({normalise(title): title for title in titles if title}.values())
    some = rng.permutation(len(different))[: max(len(different) // 5, 2)]
    shelf = {f"i{n}": title for n, title in enumerate(different)}
    copies, variants = {}, {}
    for n in some[::2].tolist():
        copies[f"i{n}", f"copy-{n}"] = _products.copied(different[n], rng)
    for n in some[1::2].tolist():
        if (other := _products.varied(different[n], rng)) is not None:
            variants[f"i{n}", f"variant-{n}"] = other
    shelf |= {pair[1]: title for pair, title in (copies | variants).items()}
    with clock() as taken:
        found = near_duplicates(shelf)
    kind = {frozenset((pair.one, pair.other)): pair.kind for pair in found}
    caught = sum(kind.get(frozenset(pair)) == "duplicate" for pair in copies)
    called = sum(kind.get(frozenset(pair)) == "duplicate" for pair in variants)
    all_called = sum(each == "duplicate" for each in kind.values())
    bench.figure(f"{name}_titles", len(shelf))
    bench.figure(f"{name}_duplicates_planted", len(copies))
    bench.figure(f"{name}_duplicates_recall", caught / max(len(copies), 1))
    bench.figure(f"{name}_duplicates_precision_where_known", caught / max(caught + called, 1))
    bench.figure(f"{name}_duplicates_precision_at_least", caught / max(all_called, 1))
    bench.figure(f"{name}_variants_told_apart", sum(kind.get(frozenset(pair)) == "variant" for pair in variants) / max(len(variants), 1))
    bench.figure(f"{name}_duplicates_cpu_s", taken["cpu"])


def attributes(bench: Harness, name: str, rows: Sequence[dict[str, Any]], *, names: Sequence[str]) -> None:
    """Five folds: what a fifth of the items states is hidden, read from its texts, and compared."""
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    told = [stated(row) for row in rows]
    right: dict[str, list[tuple[float, bool]]] = {each: [] for each in names}
    reached = dict.fromkeys(names, 0)
    with clock() as taken:
        for each in range(FOLDS):
            kept = [row for row, at in zip(rows, fold, strict=True) if at != each]
            reader = AttributeReader().fit(kept)
            held = [n for n in range(len(rows)) if fold[n] == each]
            number = {rows[n]["item"]: n for n in held}
            hits = set()
            for proposal in reader.propose({**rows[n], "attributes": None, "brand": None} for n in held):
                known = told[number[proposal.item]].get(proposal.attribute)
                if known and proposal.attribute in right:
                    codes = frozenset().union(*(reader.lexicon.codes(proposal.attribute, value) for value in known))
                    right[proposal.attribute].append((proposal.confidence, proposal.value in codes))
                    if proposal.value in codes:
                        hits.add((proposal.item, proposal.attribute))
            for _, attribute in hits:
                reached[attribute] += 1
    for attribute, pairs in right.items():
        sure, good = (np.array([pair[at] for pair in pairs], dtype=float) for at in (0, 1))
        having = sum(attribute in each for each in told)
        bench.figure(f"{name}_{attribute}_stated", having)
        bench.figure(f"{name}_{attribute}_proposals", len(pairs))
        if not len(pairs):
            continue
        bench.figure(f"{name}_{attribute}_precision", float(good.mean()))
        bench.figure(f"{name}_{attribute}_recall", reached[attribute] / having)
        bench.figure(f"{name}_{attribute}_confidence_mean", float(sure.mean()))
        if (sure >= SURE).any():
            bench.figure(f"{name}_{attribute}_precision_where_sure", float(good[sure >= SURE].mean()))
            bench.figure(f"{name}_{attribute}_share_sure", float((sure >= SURE).mean()))
    bench.figure(f"{name}_attributes_cpu_s", taken["cpu"])


def categories(bench: Harness, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Five folds: the category of a fifth of the items is hidden and suggested from the others."""
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    outcome: list[tuple[bool, float]] = []
    for each in range(FOLDS):
        reader = CategoryReader().fit(row for row, at in zip(rows, fold, strict=True) if at != each)
        held = [row for row, at in zip(rows, fold, strict=True) if at == each and row["category"] and whole(row)]
        best, sure = reader.chances([whole(row) for row in held])
        outcome += [(category == row["category"], chance) for category, chance, row in zip(best, sure.tolist(), held, strict=True)]
    right, sure = (np.array([pair[at] for pair in outcome], dtype=float) for at in (0, 1))
    bench.figure(f"{name}_categories", len({row["category"] for row in rows if row["category"]}))
    bench.figure(f"{name}_category_accuracy", float(right.mean()))
    bench.figure(f"{name}_category_suggested_share", float((sure >= SURE).mean()))
    if (sure >= SURE).any():
        bench.figure(f"{name}_category_accuracy_where_suggested", float(right[sure >= SURE].mean()))


def products(bench: Harness) -> None:
    """Catalogues: titles entered twice, attributes and categories hidden."""
    own = bench.arguments.path
    if own:
        rows = _products.catalogue(own)
        duplicates(bench, "own", [row["title"] for row in rows])
        attributes(bench, "own", rows, names=("colour", "material", "gender", "brand"))
        if any(row["category"] for row in rows):
            categories(bench, "own", rows)
        bench.finish()
        return
    shein = DATA / "brightdata_catalogs" / "shein-products.csv"
    retail = DATA / "online_retail" / "online_retail.parquet"
    if shein.exists():
        rows = _products.catalogue(shein)
        duplicates(bench, "shein", [row["title"] for row in rows])
        attributes(bench, "shein", rows, names=("colour", "material", "gender", "brand"))
        categories(bench, "shein_departments", [{**row, "category": (row["category"] or "").split(" > ")[0] or None} for row in rows])
    else:
        print(f"left out: {shein} is not there; set TRADEWIND_DATA or give --path")
    if retail.exists():
        import duckdb

        told = duckdb.sql(
            f"select StockCode, max(Description) from '{retail}' where Description is not null group by 1 order by 1"
        ).fetchall()
        duplicates(bench, "retail", [title.title() for _, title in told])
    else:
        print(f"left out: {retail} is not there")
    rows = list(_products.simulated(bench.arguments.seed, 400 if bench.quick else 2_000))
    duplicates(bench, "simulated_chinese", [row["title"] for row in rows])
    attributes(bench, "simulated_chinese", rows, names=("colour", "material", "brand"))
    categories(bench, "simulated_chinese", rows)
    bench.finish()


def pictures(bench: Harness) -> None:
    """Drawn things, a tenth of them saved again: which pairs are found, and which colours are read."""
    with tempfile.TemporaryDirectory() as folder:
        files, colours, pairs = _drawn.shelf(Path(folder), 200 if bench.quick else 2_000, bench.arguments.seed)
        with clock() as taken:
            opened_all = {item: opened(path) for item, path in files.items()}
            shelf = {item: each for item, each in opened_all.items() if isinstance(each, Picture)}
            looks = {item: images.reduced(each) for item, each in shelf.items()}
            found = {frozenset(pair[:2]) for pair in images.near_duplicates(looks)}
            said = {item: images.colour(images.shares(each)) for item, each in shelf.items()}
    named = {item: name for item, name in said.items() if name is not None}
    bench.figure("drawn_pictures", len(files))
    bench.figure("drawn_pictures_readable", len(shelf))
    bench.figure("drawn_duplicates_planted", len(pairs))
    bench.figure("drawn_duplicates_recall", len(found & pairs) / len(pairs))
    bench.figure("drawn_duplicates_precision", len(found & pairs) / max(len(found), 1))
    bench.figure("drawn_colour_named_share", len(named) / len(said))
    bench.figure("drawn_colour_right_where_named", sum(colours[item] == name for item, name in named.items()) / max(len(named), 1))
    bench.figure("drawn_pictures_a_second_a_core", len(files) / taken["cpu"])
    bench.finish()


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
    extra: dict[str, dict[str, Any]] = {
        "--nets": {"choices": (*CELLS, "all"), "help": "judge these nets beside the linear judge"},
        "--folds": {"type": int, "default": 1, "choices": range(1, FOLDS + 1), "help": "with --nets: how many of the five folds"},
    }
    extra["--only"] = {"choices": ("chinese", "english"), "help": "only these reviews"}
    extra["--products"] = {"action": "store_true", "help": "judge what is read in titles instead"}
    extra["--images"] = {"action": "store_true", "help": "judge the built-in image reader on drawn pictures instead"}
    bench = Harness("text", __doc__, extra=extra)
    if bench.arguments.images:
        pictures(bench)
    elif bench.arguments.products:
        products(bench)
    else:
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
    if bench.arguments.only != "english":
        texts, y = labelled(chinese, "review", "label")
        if bench.quick:
            some = np.random.default_rng(1).permutation(len(y))[:6_000]
            texts, y = [texts[i] for i in some], y[some]
        judge(bench, "chinese", texts, y, targets={} if bench.arguments.nets else {"accuracy": (">=", 0.939)})
        if not bench.arguments.nets:
            speed(bench, texts, y)
    if bench.arguments.only != "chinese":
        texts, y = labelled(english, "Review Text", "Recommended IND")
        judge(bench, "english", texts[: 4_000 if bench.quick else None], y[: 4_000 if bench.quick else None], targets={})
    bench.finish()


if __name__ == "__main__":
    main()
