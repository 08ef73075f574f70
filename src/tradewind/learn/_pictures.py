"""Pictures of items from files, whatever is wrong with them: opened safely, turned upright, brought to a small RGB with a mask.

A file that cannot be used is a fault with a reason, never an exception in the middle of a catalogue: it is missing, no picture, too
large to be decoded safely, or lies outside the folder. Of an animation the first frame counts; CMYK and palettes become RGB; where a
picture is transparent it is laid on white, and those places are no part of the item.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 50_000_000  # of a picture; a small file may claim billions (a decompression bomb)
BYTES = 64 << 20
SIDE = 256  # longest side of what is kept
OPAQUE = 128  # alpha from which a place belongs to the item
KEYS = ("image", "image_path", "image_file", "main_image", "picture", "\u56fe\u7247")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """``rgb`` uint8 [H, W, 3], the longer side at most 256; ``solid`` bool [H, W]: not transparent; ``frames``: 1 unless animated."""

    rgb: NDArray[np.uint8]
    solid: NDArray[np.bool_]
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a picture cannot be used: ``missing``, ``broken``, ``too_large``, ``outside`` or ``address``."""

    kind: str
    file: str


def located(rows: Iterable[Mapping[str, Any]], folder: Path) -> dict[str, Path | Fault]:
    """The picture of each item that has one: what its attributes name (``image``, ...), else a file with the item's id in the folder."""
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS} if folder.is_dir() else {}
    found: dict[str, Path | Fault] = {}
    for row in rows:
        name = _named(row.get("attributes"))
        if name is None:
            if row["item"] in files:
                found[row["item"]] = files[row["item"]]
        elif name.startswith(("http://", "https://")):
            found[row["item"]] = Fault("address", name)
        else:
            path = (folder / name).resolve()
            found[row["item"]] = path if path.is_relative_to(folder.resolve()) else Fault("outside", name)
    return found


def _named(attributes: str | None) -> str | None:
    try:
        told = json.loads(attributes or "{}")
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    plain = {str(key).strip().casefold(): value for key, value in told.items()}
    return next((value.strip() for key in KEYS if isinstance(value := plain.get(key), str) and value.strip()), None)


def opened(path: Path) -> Picture | Fault:
    """The picture in a file, or what is wrong with it."""
    from PIL import Image, ImageOps

    if not path.is_file():
        return Fault("missing", path.name)
    if path.stat().st_size > BYTES:
        return Fault("too_large", path.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; its size check is done here, and stricter
            with Image.open(path) as image:
                if image.width * image.height > PIXELS:
                    return Fault("too_large", path.name)
                frames = int(getattr(image, "n_frames", 1))
                image.seek(0)
                image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded small at once
                upright = ImageOps.exif_transpose(_plain(image))
                upright.thumbnail((SIDE, SIDE))
                return _laid(upright, frames)
    except Image.DecompressionBombError:
        return Fault("too_large", path.name)
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, OverflowError, MemoryError):
        return Fault("broken", path.name)  # Pillow's readers raise any of these for bytes that are no picture


def _plain(image: Image) -> Image:
    """As RGB or RGBA; deep greys are brought to eight bits by their own range."""
    from PIL import Image as Images

    if image.mode.startswith(("I", "F")):
        deep = np.asarray(image, dtype=np.float64)
        top = 65_535.0 if deep.max(initial=0) > 255 else 255.0
        return Images.fromarray(np.clip(deep / top * 255, 0, 255).astype(np.uint8)).convert("RGB")
    clear = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if clear else "RGB")


def _laid(image: Image, frames: int) -> Picture:
    """On white."""
    pixels = np.asarray(image, dtype=np.uint8)
    if image.mode == "RGB":
        return Picture(pixels.copy(), np.ones(pixels.shape[:2], dtype=bool), frames)
    share = pixels[:, :, 3:].astype(np.float64) / 255
    on_white = pixels[:, :, :3] * share + 255 * (1 - share)
    return Picture(np.rint(on_white).astype(np.uint8), pixels[:, :, 3] >= OPAQUE, frames)
