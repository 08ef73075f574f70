"""Drawn pictures of things for ``text.py --images``: their shape and colour are known, their shading is not even."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

SHADES = {  # other shades than those that the names are learned by
    "black": (24, 24, 28), "grey": (128, 130, 134), "red": (190, 40, 38), "pink": (240, 150, 175), "orange": (235, 125, 45),
    "yellow": (245, 210, 60), "green": (60, 140, 75), "blue": (45, 90, 190), "purple": (125, 70, 160), "brown": (110, 70, 40),
    "beige": (220, 200, 165),
}  # fmt: skip


def thing(rng: np.random.Generator, shade: tuple[int, int, int], *, size: int = 240) -> Image.Image:
    """A body with parts and a pattern, lit from one side, on white or on a pale ground."""
    body = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(body)
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.integers(size // 8, size // 2, 2)
        w, h = rng.integers(size // 5, size // 2, 2)
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)([int(x), int(y), int(x + w), int(y + h)], fill=255)
    mask = np.asarray(body, dtype=bool)
    light = np.linspace(rng.uniform(0.75, 0.95), rng.uniform(1.0, 1.15), size)[None, :, None]
    pixels = np.array(shade)[None, None, :] * light + rng.normal(0, 6, (size, size, 3))
    for _ in range(int(rng.integers(0, 4))):  # a darker pattern
        at, wide = int(rng.integers(0, size)), int(rng.integers(4, 12))
        pixels[at : at + wide] *= 0.6
    image = np.where(mask[:, :, None], pixels, 252 - rng.uniform(0, 6))
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def again(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The same picture as another seller would save it: scaled, compressed, a little brighter or paler."""
    side = int(image.width * rng.uniform(0.4, 1.6))
    image = ImageEnhance.Brightness(image.resize((side, side))).enhance(float(rng.uniform(0.92, 1.08)))
    image = ImageEnhance.Color(image).enhance(float(rng.uniform(0.85, 1.15)))
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=int(rng.integers(40, 90)))
    return Image.open(kept).convert("RGB")


def shelf(folder: Path, count: int, seed: int) -> tuple[dict[str, Path], dict[str, str], set[frozenset[str]]]:
    """Files of ``count`` things and of a tenth of them again; the colour of each; which pairs are one picture."""
    rng = np.random.default_rng(seed)
    files, colours, pairs = {}, {}, set()
    for n in range(count):
        name = str(rng.choice(sorted(SHADES)))
        image = thing(rng, SHADES[name])
        for item, made in ((f"p{n}", image), *([(f"again{n}", again(image, rng))] if n % 10 == 0 else [])):
            files[item], colours[item] = folder / f"{item}.png", name
            made.save(files[item])
        if n % 10 == 0:
            pairs.add(frozenset((f"p{n}", f"again{n}")))
    return files, colours, pairs
