"""Pictures: files of every kind and every fault, near-duplicates, colours, encoders, and vectors that feed cold start."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from recommend_worlds import END, HOUR

from tradewind.errors import InputError
from tradewind.learn import _pictures
from tradewind.learn._content_catalogue import Catalogue, keep_pictures, pictures
from tradewind.learn._pictures import Fault, Picture, located, opened
from tradewind.learn.content import Content
from tradewind.learn.images import NAME, ColourReader, FolderEncoder, colour, hashed, image_encoder, lab, near_duplicates, reduced, shares
from tradewind.learn.sequences import Sequences


def drawn(seed: int, *, size: int = 200, fill: tuple[int, int, int] | None = None) -> Image.Image:
    """Some shapes on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, w, h = rng.integers(0, size * 2 // 3, 4)
        shade = fill or tuple(int(c) for c in rng.integers(0, 230, 3))
        draw.ellipse([x, y, x + w + 20, y + h + 20], fill=shade)
    return image


def picture(image: Image.Image, folder: Path, name: str = "x.png", **options: object) -> Picture:
    path = folder / name
    image.save(path, **options)  # type: ignore[arg-type]
    found = opened(path)
    assert isinstance(found, Picture)
    return found


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "LA", "RGBA", "I;16", "YCbCr"])
def test_every_kind_of_picture_becomes_rgb(mode: str, tmp_path: Path) -> None:
    red = Image.new("RGB", (40, 60), (200, 30, 40))
    image = Image.fromarray(np.full((60, 40), 30_000, np.uint16)) if mode == "I;16" else red.convert(mode)
    found = picture(image, tmp_path, "x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    assert found.rgb.shape == (60, 40, 3)
    assert found.solid.all()
    if mode in ("RGB", "P", "CMYK", "RGBA", "YCbCr"):
        assert next(iter(shares(found))) == "red"
    if mode == "I;16":
        assert abs(int(found.rgb[0, 0, 0]) - 117) <= 1


def test_transparent_places_are_no_part_of_the_item(tmp_path: Path) -> None:
    image = Image.new("RGBA", (50, 50), (0, 0, 255, 0))  # blue that nobody sees
    image.paste((30, 140, 60, 255), (0, 0, 50, 10))
    found = picture(image, tmp_path)
    assert found.solid.sum() == 500
    assert (found.rgb[40, 40] == 255).all()
    assert list(shares(found)) == ["green"]
    assert shares(picture(Image.new("RGBA", (9, 9), (1, 2, 3, 0)), tmp_path)) == {}


def test_an_animation_counts_by_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), each) for each in ("red", "blue", "green")]
    found = picture(frames[0], tmp_path, "x.gif", save_all=True, append_images=frames[1:])
    assert found.frames == 3
    assert list(shares(found)) == ["red"]


def test_large_pictures_are_kept_small_and_upright(tmp_path: Path) -> None:
    wide = Image.new("RGB", (1000, 200), "navy")
    turned = Image.Exif()
    turned[0x0112] = 6
    assert picture(wide, tmp_path).rgb.shape == (51, 256, 3)
    assert picture(wide, tmp_path, "x.jpg", exif=turned).rgb.shape[0] == 256


def bomb(path: Path) -> None:
    """A PNG of a few bytes that claims 90,000 x 90,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 90_000, 90_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(tmp_path / "gone.png") == Fault("missing", "gone.png")
    assert opened(tmp_path) == Fault("missing", tmp_path.name)
    (tmp_path / "text.png").write_text("no picture")
    assert opened(tmp_path / "text.png") == Fault("broken", "text.png")
    (tmp_path / "empty.png").touch()
    assert opened(tmp_path / "empty.png") == Fault("broken", "empty.png")
    drawn(1).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    assert opened(tmp_path / "cut.jpg") == Fault("broken", "cut.jpg")
    bomb(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 500
    assert opened(tmp_path / "bomb.png") == Fault("too_large", "bomb.png")
    Image.new("RGB", (8000, 7000)).save(tmp_path / "huge.png")
    assert opened(tmp_path / "huge.png") == Fault("too_large", "huge.png")
    monkeypatch.setattr(_pictures, "BYTES", 100)
    drawn(1).save(tmp_path / "fat.png")
    assert opened(tmp_path / "fat.png") == Fault("too_large", "fat.png")


def test_bytes_at_random_never_raise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("x.png", "x.jpg", "x.gif", "x.webp", "x.tiff", "x.bmp"):
        drawn(2).save(tmp_path / name)
        whole = bytearray((tmp_path / name).read_bytes())
        for _ in range(15):
            hurt = whole.copy()
            for at in rng.integers(0, len(hurt), 8):
                hurt[at] = int(rng.integers(256))
            (tmp_path / name).write_bytes(hurt)
            assert isinstance(opened(tmp_path / name), Picture | Fault)


def test_where_pictures_are(tmp_path: Path) -> None:
    drawn(1).save(tmp_path / "a.png")
    rows: list[dict[str, Any]] = [
        {"item": "a", "attributes": None},
        {"item": "b", "attributes": json.dumps({"Image": "sub/b.jpg"})},
        {"item": "c", "attributes": json.dumps({"image": "../c.jpg"})},
        {"item": "d", "attributes": json.dumps({"image": "https://shop.example/d.jpg"})},
        {"item": "e", "attributes": "{"},
        {"item": "f", "attributes": json.dumps({"image": "/etc/passwd"})},
    ]
    found = located(rows, tmp_path)
    assert found == {
        "a": tmp_path / "a.png",
        "b": tmp_path / "sub" / "b.jpg",
        "c": Fault("outside", "../c.jpg"),
        "d": Fault("address", "https://shop.example/d.jpg"),
        "f": Fault("outside", "/etc/passwd"),
    }
    assert located(rows[:1], tmp_path / "none") == {}


def test_one_picture_saved_again_is_a_duplicate_and_others_are_not(tmp_path: Path) -> None:
    shelf = {f"p{n}": picture(drawn(n), tmp_path) for n in range(40)}
    shelf["small"] = picture(drawn(3).resize((90, 90)), tmp_path)
    shelf["worse"] = picture(drawn(5), tmp_path, "x.jpg", quality=35)
    shelf["flat"] = picture(Image.new("RGB", (50, 50), "white"), tmp_path)
    shelf["flat2"] = picture(Image.new("RGB", (50, 50), "white"), tmp_path)
    found = near_duplicates({name: reduced(each) for name, each in shelf.items()})
    assert {(one, other) for one, other, _ in found} == {("p3", "small"), ("p5", "worse")}
    assert hashed(shelf["flat"]) is None
    assert near_duplicates({}) == []


def test_the_same_shapes_in_another_colour_are_no_duplicate(tmp_path: Path) -> None:
    shelf = {name: picture(drawn(7, fill=fill), tmp_path) for name, fill in (("red", (200, 30, 40)), ("blue", (40, 70, 200)))}
    assert near_duplicates({name: reduced(each) for name, each in shelf.items()}) == []


def test_colours_of_items(tmp_path: Path) -> None:
    np.testing.assert_allclose(
        lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))[[0, 1]], [[100, 0, 0], [0, 0, 0]], atol=0.1
    )
    assert lab(np.array([255, 0, 0], np.uint8)) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    red = shares(picture(drawn(1, fill=(205, 35, 40)), tmp_path))
    assert colour(red) == "red"
    assert red["red"] > 0.9  # the white around it is background
    assert colour(shares(picture(Image.new("RGB", (30, 30), "white"), tmp_path))) == "white"
    stripes = Image.new("RGB", (50, 10))
    for n, each in enumerate([(208, 31, 42), (46, 139, 61), (31, 95, 208), (247, 217, 35), (122, 63, 168)]):
        stripes.paste(each, (10 * n, 0, 10 * n + 10, 10))
    assert colour(shares(picture(stripes, tmp_path))) == "multicolour"
    assert colour({"red": 0.45, "blue": 0.4}) is None
    assert colour({}) is None


def test_a_colour_is_as_sure_as_the_catalogue_shows() -> None:
    seen = {f"i{n}": {"red": 0.9} for n in range(10)} | {"new": {"red": 0.8, "white": 0.2}, "odd": {"red": 0.4}}
    told = {f"i{n}": ["Red" if n else "Blue"] for n in range(10)}
    (made,) = ColourReader().fit(seen, told).propose(seen, known=told)
    assert (made.item, made.attribute, made.value, made.source) == ("new", "colour", "red", "image")
    assert made.confidence == pytest.approx((9 + 5 * 10 / 12) / 15)
    assert made.evidence.words == "red 80%, white 20%"
    assert made.texts == {"en": "red", "zh": "红色"}
    assert ColourReader().confidence("red") == 0.5


def test_the_built_in_is_called_what_it_is(tmp_path: Path) -> None:
    encoder = image_encoder()
    assert encoder.identity == NAME == "colour-histogram-and-perceptual-hash"
    one, again, other = (picture(drawn(n), tmp_path) for n in (1, 1, 2))
    found = encoder.encode([one, again, other, picture(Image.new("RGB", (9, 9), "white"), tmp_path)])
    assert found.shape == (4, 127)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] == pytest.approx(1, abs=1e-5)
    assert found[0] @ found[2] < 0.95
    assert encoder.encode([]).shape == (0, 127)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer of one layer with random weights."""
    import torch
    from transformers import ViTConfig, ViTModel

    path = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8)
    ViTModel(config).save_pretrained(path)
    told = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    return path


def test_a_model_from_a_folder(folder: Path, tmp_path: Path) -> None:
    encoder = image_encoder(f"directory:{folder}")
    pictures = [picture(drawn(n, size=50 + n), tmp_path) for n in range(20)]
    found = encoder.encode(pictures)
    assert found.shape == (20, 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(pictures[3:4]), found[3:4], atol=1e-5)
    assert encoder.identity.startswith(folder.name)


def test_pictures_are_cut_as_the_folder_says(folder: Path, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "cut"
    shutil.copytree(folder, path)
    told = {"size": {"shortest_edge": 40}, "crop_size": 32}
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    wide = Image.new("RGB", (200, 50), "white")
    wide.paste((0, 0, 0), (75, 0, 125, 50))
    look = FolderEncoder(path)._look.at(picture(wide, tmp_path))
    assert look.shape == (3, 32, 32)
    assert look.max() < -0.5  # only the black middle is left


def test_folders_that_hold_no_vision_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image encoder 'clip'"):
        image_encoder("clip")
    with pytest.raises(InputError, match=r"no config\.json"):
        image_encoder(f"directory:{tmp_path}")
    import shutil

    path = tmp_path / "bare"
    shutil.copytree(folder, path)
    (path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="Save the image processor"):
        image_encoder(f"directory:{path}")


def test_items_without_words_are_found_by_their_pictures(tmp_path: Path) -> None:
    red, blue = {"r1": 1, "r2": 1, "r3": 1}, {"b1": 9, "b2": 9}
    shades = {**dict.fromkeys(red, (200, 30, 40)), **dict.fromkeys(blue, (40, 70, 200))}
    shelf = {name: picture(drawn(seed, fill=shades[name]), tmp_path) for name, seed in (red | blue).items()}
    vectors = dict(zip(shelf, image_encoder().encode(list(shelf.values())), strict=True))
    keep_pictures(tmp_path, vectors, encoder=NAME)
    kept = pictures(tmp_path)
    assert {name: value.tolist() for name, value in kept.items()} == {name: value.tolist() for name, value in vectors.items()}
    assert pictures(tmp_path / "none") == {}
    items = [*sorted(shelf), "x"]
    log = Sequences.from_arrays(["a"], item=["r1"], at=[HOUR], items=items, catalogue=Catalogue(pictures=kept))
    model = Content().fit(log, as_of=END)
    found = model.recommend(log, k=6)
    assert [str(model.items[item]) for item in found.items[0] if item >= 0][:2] == ["r2", "r3"]
    assert "x" not in {str(model.items[item]) for item in found.items[0] if item >= 0}  # nothing is known of it
    assert model.described == pytest.approx(5 / 6)
    deaf = Content(pictures=0.0).fit(log, as_of=END)
    assert deaf.described == 0.0
