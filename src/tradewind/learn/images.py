"""Pictures as vectors, near-duplicate pictures, and the colour of an item; with a model that the shop brings, or without one.

The built-in encoder is called what it is, ``colour-histogram-and-perceptual-hash``: it knows colours and coarse layout and nothing
of what is shown. A folder with a vision model (``directory:PATH``, as transformers saves one) knows more; nothing is downloaded.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._pictures import Picture
from tradewind.learn._product_words import lexicon
from tradewind.learn.encoders import FOLDER, MISSING, Vectors, identity, unit
from tradewind.learn.product_text import PRIOR, Evidence, Proposal

BUILTIN = "builtin"
NAME = "colour-histogram-and-perceptual-hash"
BINS = 4  # per channel
HASHED, KEPT = 32, 8  # side of the grey picture, and of its low frequencies
FLAT = 3.0  # standard deviation of grey (0 to 255) below which a picture has nothing to hash
BITS = 10  # of 63 that near-duplicates may differ in
WAVES_ALIKE, COLOURS_ALIKE = 0.98, 0.8  # cosines of their low frequencies and of their histograms
CHUNK = 2_000
MAIN, PART, MANY = 0.5, 0.15, 4  # share of one colour; of each of several, and how many make it multicolour
BATCH = 16

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Looks:
    """A perceptual hash (None of a flat picture), the low frequencies and the colour histogram, float32 [63] and [64], length one."""

    code: int | None
    waves: NDArray[np.float32]
    colours: NDArray[np.float32]


class ImageEncoder(Protocol):
    """``encode`` gives unit vectors float32 [N, d]; ``identity`` changes when the vectors may."""

    identity: str

    def encode(self, pictures: Sequence[Picture]) -> Vectors: ...


def image_encoder(slot: str = BUILTIN) -> ImageEncoder:
    """The encoder that a slot names: ``builtin`` or ``directory:PATH``; raises InputError for anything else."""
    if slot == BUILTIN:
        return Builtin()
    if slot.startswith(FOLDER):
        return FolderEncoder(slot.removeprefix(FOLDER))
    raise InputError(f'There is no image encoder {slot!r}. Allowed: "{BUILTIN}" and "directory:PATH".')


class Builtin:
    """Half colour histogram, half low frequencies of the grey picture: which colours, and where it is light and dark.

    When not to use: to find things of one kind; two red squares are alike to it, two chairs are not.
    """

    identity = NAME

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """float32 [N, 64 + 63], each half of length 1 / sqrt(2) unless it is empty."""
        if not pictures:
            return np.empty((0, BINS**3 + KEPT**2 - 1), np.float32)
        colours = unit(np.stack([histogram(each) for each in pictures]))
        waves = unit(np.stack([frequencies(each) for each in pictures]).astype(np.float32))
        return unit(np.hstack([colours, waves]))


class FolderEncoder:
    """A vision model from a folder, with the sizes and means that its ``preprocessor_config.json`` states."""

    def __init__(self, folder: str | Path) -> None:
        self.identity = identity(folder)
        try:
            import torch
            import transformers
        except ImportError as error:
            raise InputError(MISSING) from error
        try:
            self._model = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True).float().eval()
            told = json.loads((Path(folder) / "preprocessor_config.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f'"{folder}" has no preprocessor_config.json. Save the image processor beside the model.') from error
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f'The model in "{folder}" cannot be loaded: {str(error)[:200]}') from error
        self._torch, self._look = torch, _Look.of(told)

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """float32 [N, d], each of length one."""
        from tradewind.engine.training import alone

        parts: list[Vectors] = []
        with alone(), self._torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                pixels = self._torch.from_numpy(np.stack([self._look.at(each) for each in pictures[start : start + BATCH]]))
                parts.append(np.asarray(self._pooled(pixels).numpy(), dtype=np.float32))
        return unit(np.concatenate(parts)) if parts else np.empty((0, 0), np.float32)

    def _pooled(self, pixels: Any) -> Any:
        model: Any = self._model
        out = (model.vision_model if hasattr(model, "vision_model") else model)(pixel_values=pixels)  # of CLIP the half that sees
        pooled = getattr(out, "pooler_output", None)
        if pooled is None:
            states = out.last_hidden_state
            pooled = states.mean(dim=1) if states.ndim == 3 else states.mean(dim=(2, 3))
        return pooled.flatten(1)


@dataclass(frozen=True)
class _Look:
    """How a model wants its pictures: resized to ``short`` at the shorter side (0: squeezed), cut to ``side``, then normalised."""

    short: int
    side: tuple[int, int]  # height, width
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> _Look:
        size = told.get("size", 224)
        size = {"height": size, "width": size} if isinstance(size, int) else size
        crop = told.get("crop_size") or {}
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        short = int(size.get("shortest_edge", 0))
        side = (int(crop.get("height", short)), int(crop.get("width", short))) if short else (int(size["height"]), int(size["width"]))
        mean, spread = (np.array(told.get(key, [0.5] * 3), np.float32) for key in ("image_mean", "image_std"))
        return cls(short, side, mean, spread)

    def at(self, picture: Picture) -> NDArray[np.float32]:
        """float32 [3, H, W]."""
        from PIL import Image

        image, (height, width) = Image.fromarray(picture.rgb), self.side
        if self.short:
            scale = max(self.short, height, width) / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        else:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        values = (np.asarray(image, dtype=np.float32) / 255 - self.mean) / self.spread
        return np.asarray(np.ascontiguousarray(values.transpose(2, 0, 1)), dtype=np.float32)


# ---- what the built-in sees ----------------------------------------------------------------------------------------


def histogram(picture: Picture) -> NDArray[np.float32]:
    """Roots of the shares of 64 colours among the solid places (Hellinger: cosine is their overlap), float32 [64]; zeros if none is."""
    solid = picture.rgb[picture.solid].astype(np.int64) * BINS // 256
    counts = np.bincount((solid[:, 0] * BINS + solid[:, 1]) * BINS + solid[:, 2], minlength=BINS**3)
    return np.asarray(np.sqrt(counts / max(counts.sum(), 1)), dtype=np.float32)


def frequencies(picture: Picture) -> NDArray[np.float64]:
    """The 63 lowest frequencies of the grey picture (cosine transform) without its mean, float64 [63]; zeros where it is flat."""
    from PIL import Image
    from scipy.fft import dctn

    grey = np.asarray(Image.fromarray(picture.rgb).convert("L").resize((HASHED, HASHED), Image.Resampling.BOX), dtype=np.float64)
    if grey.std() < FLAT:
        return np.zeros(KEPT**2 - 1)
    return np.asarray(dctn(grey, norm="ortho")[:KEPT, :KEPT].ravel()[1:])


def hashed(picture: Picture) -> int | None:
    """A perceptual hash of 63 bits: which low frequencies are above their median (Zauner 2010); None of a flat picture."""
    waves = frequencies(picture)
    if not waves.any():
        return None
    return int(sum(1 << n for n, high in enumerate(waves > np.median(waves)) if high))


def reduced(picture: Picture) -> Looks:
    """What :func:`near_duplicates` needs of a picture, so that a catalogue's pictures need not all be in memory."""
    waves = frequencies(picture)
    return Looks(hashed(picture), unit(waves[None, :].astype(np.float32))[0], unit(histogram(picture)[None, :])[0])


def near_duplicates(pictures: Mapping[str, Looks]) -> list[tuple[str, str, float]]:
    """(item, item, share of equal bits) of pictures that are one picture: scaled, compressed, a little brighter; the most alike first.

    Mirrored, turned and cropped copies are not found. All are compared with all: a minute for some 50,000 pictures.
    """
    known = {item: looks.code for item, looks in pictures.items() if looks.code is not None}
    items, codes = list(known), np.fromiter(known.values(), dtype=np.uint64, count=len(known))
    found = []
    for start in range(0, len(items), CHUNK):
        apart = np.bitwise_count(codes[start : start + CHUNK, None] ^ codes[None, :])
        first, second = np.nonzero(apart <= BITS)
        for a, b in zip((first + start).tolist(), second.tolist(), strict=True):
            if a < b and _alike(pictures[items[a]], pictures[items[b]]):
                one, other = sorted((items[a], items[b]))
                found.append((one, other, round(1 - int(apart[a - start, b]) / (KEPT**2 - 1), 4)))
    return sorted(found, key=lambda each: (-each[2], each[0], each[1]))


def _alike(one: Looks, other: Looks) -> bool:
    """Hashes of simple shapes meet by chance; their frequencies and colours do not."""
    return float(one.waves @ other.waves) >= WAVES_ALIKE and float(one.colours @ other.colours) >= COLOURS_ALIKE


# ---- colours -------------------------------------------------------------------------------------------------------


@cache
def _looks() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names of the colours, one per example, and the examples in CIELAB, float64 [n, 3]."""
    data = tomllib.loads(files("tradewind.learn").joinpath("product_attributes.toml").read_text(encoding="utf-8"))["looks"]
    pairs = [(name, bytes.fromhex(code)) for name, codes in data.items() for code in codes]
    return tuple(name for name, _ in pairs), lab(np.array([list(code) for _, code in pairs], dtype=np.uint8))


def lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB [..., 3] in CIELAB under D65 (CIE 15:2004), float64 of the same shape."""
    linear = rgb.astype(np.float64) / 255
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    matrix = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    found = [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])]
    return np.stack(found, axis=-1)


def shares(picture: Picture) -> dict[str, float]:
    """Share of each named colour among the places of the item, greatest first; the background is left out.

    Background is what is transparent, and white or near white that reaches the border; a picture of nothing else is white.
    """
    rgb, solid = picture.rgb, picture.solid
    if not solid.any():
        return {}
    front = solid & ~_backdrop(rgb)
    places = rgb[front] if front.sum() >= 0.02 * solid.sum() else rgb[solid]
    names, examples = _looks()
    seen, counts = np.unique(places.reshape(-1, 3) // 8, axis=0, return_counts=True)
    nearest = ((lab((seen * 8 + 4).astype(np.uint8))[:, None, :] - examples[None]) ** 2).sum(axis=2).argmin(axis=1)
    total: Counter[str] = Counter()
    for place, count in zip(nearest.tolist(), counts.tolist(), strict=True):
        total[names[place]] += count
    return {name: count / len(places) for name, count in total.most_common()}


def _backdrop(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Near-white places that hang together with the border, bool [H, W]."""
    from scipy.ndimage import label

    pale = (rgb.min(axis=2) >= 235) & (rgb.max(axis=2).astype(int) - rgb.min(axis=2) <= 12)
    parts, _ = label(pale)
    border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.asarray(np.isin(parts, border[border > 0]))


def colour(found: Mapping[str, float]) -> str | None:
    """The one colour of half of the item or more, ``multicolour`` of four or more, else None: it cannot be said in a word."""
    if not found:
        return None
    first, share = next(iter(found.items()))
    if sum(each >= PART for each in found.values()) >= MANY:
        return "multicolour"
    return first if share >= MAIN else None


class ColourReader:
    """Proposes the colour of items from their pictures; how sure it is was counted where the catalogue states colours, as in texts."""

    def __init__(self) -> None:
        self._agreed: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def fit(self, seen: Mapping[str, Mapping[str, float]], told: Mapping[str, Sequence[str]]) -> Self:
        """``seen``: shares of colours per item; ``told``: the colours that the catalogue states of some of them."""
        for item, words in told.items():
            value = colour(seen.get(item, {}))
            if value is not None:
                right = frozenset().union(*(lexicon().codes("colour", word) for word in words))
                for key in ("", value):
                    self._agreed[key][0] += value in right
                    self._agreed[key][1] += 1
        return self

    def confidence(self, value: str) -> float:
        """Chance that an item of this look is called so, 0-1; one half where the catalogue states no colours of pictured items."""
        (right, count), (mine, of) = self._agreed.get("", (0, 0)), self._agreed.get(value, (0, 0))
        return (mine + PRIOR * (right + 1) / (count + 2)) / (of + PRIOR)

    def propose(self, seen: Mapping[str, Mapping[str, float]], *, known: Mapping[str, Sequence[str]]) -> list[Proposal]:
        """A colour for each pictured item that the catalogue states none of and that has one."""
        texts = lexicon().words["colour"].texts
        made = []
        for item, found in seen.items():
            value = colour(found)
            if item not in known and value is not None:
                said = ", ".join(f"{name} {share:.0%}" for name, share in list(found.items())[:3])
                made.append(Proposal(item, "colour", value, self.confidence(value), "image", Evidence("image", said), texts[value]))
        return sorted(made, key=lambda each: each.item)
