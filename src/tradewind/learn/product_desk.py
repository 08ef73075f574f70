"""The desk of products: read attributes and categories from texts, colours from pictures, find what was entered twice, and decide.

What is read is a proposal. It waits until a person confirms it; only then may a text claim it (``product_queue``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.errors import InputError
from tradewind.learn import images, product_duplicates, product_queue
from tradewind.learn._content_catalogue import keep_pictures
from tradewind.learn._pictures import Fault, Picture, located, opened
from tradewind.learn.product_queue import Waiting
from tradewind.learn.product_text import COLUMNS, AttributeReader, CategoryReader, Proposal, stated
from tradewind.types import Report, Section

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SHOWN = 20
BATCH = 256  # pictures in memory at once


class ProductDesk:
    """What can be learned about one shop's products from their texts and pictures; ``now`` is the shop's clock."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self.home, self.now = home, now

    def attributes(self) -> Report:
        """Read every item's texts; what the catalogue does not state becomes a proposal that waits for :meth:`confirm`."""
        rows = self._rows()
        proposals: list[Proposal] = AttributeReader().fit(rows).propose(rows)
        text = ["A proposal is no fact: no text may claim it before a person confirms it."]
        try:
            proposals += CategoryReader().fit(rows).suggest(rows)
        except InputError as error:
            text.append(f"No categories suggested: {error}")
        fresh = product_queue.enter(self.home, proposals, source="text", now=self.now())
        text.append(f"{len(rows):,} items read; {len(proposals):,} proposals from their texts, {fresh:,} of them new.")
        return self._report("What texts say of products", text)

    def duplicates(self, *, alike: float = product_duplicates.ALIKE) -> Report:
        """Items whose titles are nearly the same: likely duplicates first, then variants with what tells them apart."""
        rows = self._rows()
        pairs = product_duplicates.near_duplicates(product_duplicates.titles(rows), alike=alike)
        title = {row["item"]: row["title"] or row["title_zh"] or row["title_en"] for row in rows}
        count = Counter(pair.kind for pair in pairs)
        shown = tuple(
            {
                "kind": pair.kind, "item": pair.one, "other": pair.other, "alike": pair.similarity, "differs": ", ".join(pair.differs),
                "title": title[pair.one], "other title": title[pair.other],
            }
            for pair in pairs
        )  # fmt: skip
        text = (
            f"{count['duplicate']:,} pairs of likely duplicates and {count['variant']:,} of variants among {len(title):,} items.",
            "Alike titles are no proof; look before you merge.",
        )
        return Report("Products entered twice", self.now(), [Section("Titles", text, (), shown)], simulated=self.home.settings.simulated)

    def images(self, *, folder: str | Path | None = None) -> Report:
        """Look at the pictures: colours to confirm, pictures that are one, vectors for items that nobody has bought yet.

        ``folder``: where they lie; else the setting ``images``, within the shop's folder.

        Raises
        ------
        InputError
            There is no folder of pictures, or the image model cannot be loaded.
        """
        place = self._folder(folder)
        encoder = images.image_encoder(self.home.settings.image_model)
        rows = self._rows()
        files = located(rows, place)
        faults: Counter[str] = Counter()
        kept: dict[str, images.Looks] = {}
        vectors: dict[str, Any] = {}
        seen: dict[str, dict[str, float]] = {}
        batch: dict[str, Picture] = {}
        for item, path in files.items():
            found = path if isinstance(path, Fault) else opened(path)
            if isinstance(found, Fault):
                faults[found.kind] += 1
                continue
            batch[item], kept[item] = found, images.reduced(found)
            seen[item] = images.shares(found)
            if len(batch) == BATCH:
                vectors |= zip(batch, encoder.encode(list(batch.values())), strict=True)
                batch = {}
        vectors |= zip(batch, encoder.encode(list(batch.values())), strict=True)
        keep_pictures(self.home.tables.root, vectors, encoder=encoder.identity)
        told = {row["item"]: colours for row in rows if (colours := stated(row).get("colour"))}
        proposals = images.ColourReader().fit(seen, told).propose(seen, known=told)
        fresh = product_queue.enter(self.home, proposals, source="image", now=self.now())
        same = images.near_duplicates(kept)
        text = [
            f"{len(vectors):,} of {len(rows):,} items have a picture that can be used; looked at by {encoder.identity}.",
            *(f"{count:,} {WRONG[kind]}" for kind, count in sorted(faults.items())),
            f"{len(proposals):,} colours proposed, {fresh:,} of them new; {len(same):,} pairs of pictures are nearly one.",
        ]
        pairs = tuple({"item": one, "other": other, "alike": alike} for one, other, alike in same)
        return self._report("What pictures show of products", text, Section("Pictures that are nearly one", (), (), pairs))

    def waiting(self, *, attribute: str | None = None, item: str | None = None, least: float = 0.0) -> list[Waiting]:
        """The proposals that wait, the surest first; ``least``: of this confidence or more."""
        return product_queue.listed(self.home, attribute=attribute, item=item, least=least)

    def confirmed(self, *, item: str | None = None) -> list[Waiting]:
        """What people confirmed."""
        return product_queue.listed(self.home, state=product_queue.CONFIRMED, item=item)

    def confirm(self, chosen: Sequence[tuple[str, str, str]], *, by: str) -> int:
        """Make (item, attribute, value) facts that texts may claim; see :func:`tradewind.learn.product_queue.decide`."""
        return product_queue.decide(self.home, chosen, confirm=True, by=by, now=self.now())

    def reject(self, chosen: Sequence[tuple[str, str, str]], *, by: str) -> int:
        """Say that they are wrong, or take a confirmation back; they are not proposed again."""
        return product_queue.decide(self.home, chosen, confirm=False, by=by, now=self.now())

    def _rows(self) -> list[dict[str, Any]]:
        tables = self.home.tables
        rows: list[dict[str, Any]] = tables.to_arrow(tables.get("items").select(*COLUMNS)).sort_by("item").to_pylist()
        if not rows:
            raise InputError("The shop has no catalogue. Collect a file with items (item, title, ...) first.")
        return rows

    def _folder(self, folder: str | Path | None) -> Path:
        told = folder if folder is not None else self.home.settings.images
        if told is None:
            raise InputError('Say where the pictures are: --folder PATH, or images = "PATH" in tradewind.toml.')
        place = Path(told) if folder is not None else self.home.tables.root / told
        if not place.is_dir():
            raise InputError(f"There is no folder {place}. Name the folder that holds the pictures.")
        return place

    def _report(self, title: str, text: Sequence[str], *more: Section) -> Report:
        waiting = self.waiting()
        count = Counter(each.attribute for each in waiting)
        told = ", ".join(f"{name} {n:,}" for name, n in count.most_common()) or "nothing"
        rows = tuple(as_row(each) for each in waiting[:SHOWN])
        sections = [Section("Read", tuple(text)), Section("Waiting for confirmation", (f"By attribute: {told}.",), (), rows), *more]
        return Report(title, self.now(), sections, simulated=self.home.settings.simulated)


WRONG = {
    "missing": "pictures are named and not there.",
    "broken": "files are no picture that can be read.",
    "too_large": "pictures are too large to be opened safely.",
    "outside": "names lead out of the folder.",
    "address": "pictures are on the web; save them in the folder.",
}


def as_row(waiting: Waiting) -> dict[str, Any]:
    """One proposal as a row of a report."""
    words = "; ".join(f"{each['source']} {each['field']}: {each['words'][:60]}" for each in waiting.evidence)
    return {
        "item": waiting.item, "attribute": waiting.attribute, "value": waiting.value,
        "confidence": round(waiting.confidence, 3), "evidence": words,
    }  # fmt: skip
