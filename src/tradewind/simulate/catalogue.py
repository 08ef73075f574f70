"""The items of the synthetic shop: an attribute grammar in two languages, prices, costs, accessories, life spans."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.simulate import rng
from tradewind.simulate.data import words

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
FOREVER = 10**6  # weeks
WIDTH = 3  # accessories per item


@dataclass(frozen=True)
class Catalogue:
    """Arrays over J = leaves x ``per_leaf`` items, leaf by leaf; money in minor units, time in weeks since the start."""

    per_leaf: int
    leaf: Ints
    tier: Ints  # 0 basic .. 2 premium
    style: Ints
    price: Ints
    cost: Ints
    quality: Floats  # standard normal; ratings and returns follow it
    returned: Floats  # probability that a line comes back
    weight: Floats  # popularity within the leaf (Zipf)
    since: Ints  # first week on sale; negative: before the history
    until: Ints  # first week no longer on sale
    extras: Ints  # (J, 3) accessories, -1 none
    extra_share: Floats  # (J, 3) probability that the accessory joins an order of the item
    quantity: Floats  # (J, 3) probability of 1, 2, 3 pieces
    repeat: Floats  # days until it is used up, 0: durable
    brand: Ints
    colour: Ints
    material: Ints
    size: Ints
    benefit: Ints
    seed: int

    def __len__(self) -> int:
        return len(self.leaf)

    @property
    def leaves(self) -> int:
        """How many leaf categories there are."""
        return len(self) // self.per_leaf

    def ids(self) -> list[str]:
        """The item ids, in the order of the arrays."""
        return [f"P{row:05d}" for row in range(len(self))]

    def on_sale(self, week: int) -> NDArray[np.bool_]:
        """Which items can be bought in a week: arrived, not discontinued and not out of stock."""
        out = rng.uniforms(self.seed, np.arange(len(self)), week + 10**6) < 0.03
        anchor = np.arange(len(self)) % self.per_leaf == 0  # so that no leaf is ever empty
        return np.asarray(anchor | ((self.since <= week) & (week < self.until) & ~out))

    def stock(self, week: int) -> Ints:
        """Pieces in stock at the end of a week; 0 for what is not on sale."""
        level = 20 + 480 * rng.uniforms(self.seed, np.arange(len(self)), week + 2 * 10**6) ** 2
        return np.where(self.on_sale(week), level, 0).astype(np.int64)


def make(seed: int, *, items: int, leaves: int, weeks: int) -> Catalogue:
    """Build the catalogue of ``items`` items (rounded up to a multiple of ``leaves``) for a history of ``weeks`` weeks."""
    grammar = words("catalogue")
    leaf_data = grammar["leaves"][:leaves]
    per_leaf = -(-items // leaves)
    count = per_leaf * leaves
    draw = rng.stream(seed, rng.CATALOGUE)
    leaf = np.repeat(np.arange(leaves), per_leaf)
    tier = draw.choice(3, count, p=[0.35, 0.4, 0.25])
    style = draw.integers(0, 4, count)
    median = np.array([entry["price"] for entry in leaf_data], dtype=float)[leaf]
    factor = np.array([entry["factor"] for entry in grammar["tiers"]])[tier]
    price = np.maximum(np.round(median * factor * np.exp(draw.normal(0, 0.12, count))), 9).astype(np.int64) * 100 - 10
    quality = draw.normal(0, 1, count)
    base_return = np.array([entry["returns"] for entry in leaf_data])[leaf]
    rank = np.argsort(draw.random((leaves, per_leaf)), axis=1).ravel()
    anchor = np.arange(count) % per_leaf == 0
    arrival = draw.random(count)
    since = np.where((arrival < 0.3) & ~anchor, 1 + draw.integers(0, max(weeks, 1), count), -60)
    ends = (draw.random(count) < 0.08) & ~anchor
    until = np.where(ends, np.maximum(since, 0) + 2 + draw.integers(0, max(weeks, 1), count), FOREVER)
    repeat = np.array([entry["repeat_days"] or 0 for entry in leaf_data], dtype=float)[leaf]
    repeat = repeat * np.exp(draw.normal(0, 0.1, count))
    quantity = np.where(repeat[:, None] > 0, [0.62, 0.3, 0.08], [0.92, 0.07, 0.01])
    extras, share = _accessories(draw, leaf_data, leaf, style, per_leaf)
    return Catalogue(
        per_leaf=per_leaf,
        leaf=leaf,
        tier=tier,
        style=style,
        price=price,
        cost=(price * draw.uniform(0.64, 0.74, count)).astype(np.int64),
        quality=quality,
        returned=np.clip(base_return * np.exp(-0.5 * quality), 0.01, 0.15),
        weight=np.power(rank + 2.0, -0.9).astype(np.float64),
        since=since,
        until=until,
        extras=extras,
        extra_share=share,
        quantity=quantity,
        repeat=repeat,
        brand=draw.integers(0, len(grammar["brands"]), count),
        colour=draw.integers(0, 3, count),
        material=draw.integers(0, 60, count),  # modulo the leaf's own list
        size=draw.integers(0, 60, count),
        benefit=draw.integers(0, 60, count),
        seed=seed,
    )


def _accessories(draw: np.random.Generator, leaf_data: list[dict[str, Any]], leaf: Ints, style: Ints, per_leaf: int) -> tuple[Ints, Floats]:
    """Give each item up to three accessories from the leaves that go with its own, of its own style where there are any."""
    keys = [entry["key"] for entry in leaf_data]
    extras = np.full((len(leaf), WIDTH), -1, dtype=np.int64)
    for row in range(len(leaf)):
        partners = [keys.index(key) for key in leaf_data[leaf[row]]["goes_with"] if key in keys]
        pool = [item for other in partners for item in range(other * per_leaf, (other + 1) * per_leaf)]
        if pool:
            alike = [item for item in pool if style[item] == style[row]]
            chosen = draw.choice(np.array(alike or pool), size=min(WIDTH, len(alike or pool)), replace=False)
            extras[row, : len(chosen)] = chosen
    return extras, np.where(extras >= 0, np.array([0.13, 0.08, 0.05]), 0.0)


def describe(catalogue: Catalogue, row: int) -> dict[str, Any]:
    """Return titles, descriptions, category, brand and attributes of one item in both languages."""
    grammar = words("catalogue")
    entry = grammar["leaves"][catalogue.leaf[row]]
    style = grammar["styles"][catalogue.style[row]]
    parts = {
        "brand": grammar["brands"][catalogue.brand[row]],
        "tier": [grammar["tiers"][catalogue.tier[row]][language] for language in ("en", "zh")],
        "style": [style["en"], style["zh"]],
        "colour": style["colours"][catalogue.colour[row]],
        "material": entry["materials"][catalogue.material[row] % len(entry["materials"])],
        "size": entry["sizes"][catalogue.size[row] % len(entry["sizes"])],
        "benefit": entry["benefits"][catalogue.benefit[row] % len(entry["benefits"])],
        "noun": entry["noun"],
    }
    text: dict[str, Any] = {}
    for place, language in enumerate(("en", "zh")):
        slots = {name: values[place] for name, values in parts.items()}
        slots["style_cap"] = slots["style"].capitalize()
        slots["material_cap"] = slots["material"][:1].upper() + slots["material"][1:]
        text[f"title_{language}"] = grammar["title"][language].format(**slots)
        pattern = grammar["description"][language][catalogue.benefit[row] // 7 % 2]
        text[f"description_{language}"] = pattern.format(**slots)
    attributes = {name: parts[name][0] for name in ("colour", "material", "size", "style")}
    attributes |= {f"{name}_zh": parts[name][1] for name in ("colour", "material", "size", "style")}
    attributes |= {"category_zh": " > ".join(level[1] for level in entry["path"]), "brand_zh": parts["brand"][1]}
    if catalogue.repeat[row] > 0:
        attributes["lasts_days"] = str(round(catalogue.repeat[row]))
    text["category"] = " > ".join(level[0] for level in entry["path"])
    text["brand"] = parts["brand"][0]
    text["attributes"] = json.dumps(attributes, ensure_ascii=False, sort_keys=True)
    return text
