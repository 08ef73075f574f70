"""Catalogues for ``text.py --products``: real titles with planted duplicates and variants, and attributes hidden to be found again."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tradewind.learn._product_words import lexicon
from tradewind.learn._text_grams import HAN, words

FILLER = ("new", "hot sale", "best seller", "free shipping", "top quality")
FILLER_HAN = ("新款", "热卖", "包邮", "正品")
DIGIT = re.compile(r"[0-9]")
TITLES = ("title", "product_name", "name", "Description")
csv.field_size_limit(sys.maxsize)


def catalogue(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV as items: title, description, category, brand and attributes where the file has them, by the names it uses."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    made = []
    for number, row in enumerate(rows):
        told = {e["name"]: e["value"] for e in json.loads(row.get("other_attributes") or "[]")} if row.get("other_attributes") else {}
        if row.get("attributes"):
            told |= json.loads(row["attributes"])
        if row.get("color"):
            told["color"] = row["color"]
        title = next((row[name] for name in TITLES if row.get(name)), "")
        category = row.get("category") or ""
        if row.get("root_category") and category:
            category = f"{row['root_category']} > {category}"
        brand = row.get("brand") or None
        made.append(item(f"i{number}", title, row.get("description") or "", category or None, brand, told))
    return made


def item(name: str, title: str, description: str, category: str | None, brand: str | None, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "item": name, "title": title, "title_zh": None, "title_en": None, "description_zh": None,
        "description_en": description or None, "category": category, "brand": brand, "attributes": json.dumps(told, ensure_ascii=False),
    }  # fmt: skip


def simulated(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Items of the simulated shop, Chinese titles and descriptions only."""
    from tradewind.simulate.catalogue import describe, make

    shelf = make(seed, items=count, leaves=20, weeks=52)
    for row in range(len(shelf.leaf)):
        told = describe(shelf, row)
        attributes = {name.removesuffix("_zh"): value for name, value in json.loads(told["attributes"]).items() if name.endswith("_zh")}
        made = item(f"s{row}", told["title_zh"], "", attributes.pop("category"), attributes.pop("brand"), attributes)
        yield {**made, "description_zh": told["description_zh"]}


def copied(title: str, rng: np.random.Generator) -> str:
    """The same product entered again: one to three of case, marks, order, a dropped word, a slip of the keys, filler."""
    for change in rng.choice(6, size=int(rng.integers(1, 4)), replace=False).tolist():
        parts = _parts(title)
        plain = [n for n, part in enumerate(parts) if not DIGIT.search(part) and not _means(part)]
        at = int(rng.choice(plain)) if plain else -1
        if change == 0:
            title = title.upper() if rng.random() < 0.5 else title.lower()
        elif change == 1:
            title = title.replace(",", " ").replace("-", " ").replace("\uff0c", " ")
        elif change == 2 and len(parts) > 3:
            cut = int(rng.integers(1, len(parts)))
            title = _joined([*parts[cut:], *parts[:cut]])
        elif change == 3 and len(parts) > 4 and at >= 0:
            title = _joined([part for n, part in enumerate(parts) if n != at])
        elif change == 4 and at >= 0 and len(parts[at]) > 3:
            spot = int(rng.integers(1, len(parts[at]) - 1))
            slip = parts[at][:spot] + parts[at][spot + 1] + parts[at][spot] + parts[at][spot + 2 :]
            title = _joined([slip if n == at else part for n, part in enumerate(parts)])
        elif change == 5:
            title = f"{rng.choice(FILLER_HAN)}{title}" if HAN.search(title) else f"{title} {rng.choice(FILLER)}"
    return title


def varied(title: str, rng: np.random.Generator) -> str | None:
    """Another variant of it: one number or one colour changed; None where the title has neither."""
    found = [each for each in lexicon().find(title) if each.attribute == "colour"]
    numbers = [word for word in words(title.lower()) if word.isdigit() and title.count(word) == 1]
    if found and (not numbers or rng.random() < 0.5):
        each = found[0]
        texts = lexicon().words["colour"].texts
        language = "zh" if HAN.search(title[each.start : each.end]) else "en"
        other = str(rng.choice(sorted(value for value in texts if value != each.value)))
        return title[: each.start] + texts[other][language] + title[each.end :]
    return title.replace(numbers[0], str(int(numbers[0]) + int(rng.integers(1, 9)))) if numbers else None


def _parts(title: str) -> list[str]:
    return words(title) if HAN.search(title) else title.split()


def _joined(parts: Sequence[str]) -> str:
    return ("" if any(HAN.search(part) for part in parts) else " ").join(parts)


def _means(part: str) -> bool:
    return bool(lexicon().find(part))
