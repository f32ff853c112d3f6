"""The subject's pictures: which are taken, and how they are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.dreambooth.chance import chance
from training.dreambooth.errors import TrainingError
from training.dreambooth.options import Crop
from training.dreambooth.pictures import cuts, find_examples, read_picture

_RED, _BLUE = (200, 20, 20), (20, 20, 200)
_ORIENTATION = 0x0112


def _extent(picture: Image.Image) -> tuple[int, int]:
    """Width and height of what is red."""
    pixels = np.asarray(picture).astype(int)
    red = (pixels[..., 0] > 110) & (pixels[..., 2] < 110)
    return int(red.any(axis=0).sum()), int(red.any(axis=1).sum())


@pytest.mark.parametrize("size", [(400, 200), (200, 400), (200, 200), (201, 333)])
def test_a_square_stays_a_square(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, _BLUE)
    side = 80
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    picture.paste(_RED, (left, top, left + side, top + side))
    (cut,) = cuts(picture, 100, "centre", 1, chance(0))
    assert cut.picture.size == (100, 100)
    width, height = _extent(cut.picture)
    assert abs(width - height) <= 1
    assert width == pytest.approx(side * 100 / min(size), abs=2)


def test_random_cuts_lie_elsewhere_and_are_drawn_by_the_seed() -> None:
    picture = Image.linear_gradient("L").resize((64, 256)).convert("RGB")
    first, again, other = (cuts(picture, 64, "random", 3, chance(seed)) for seed in (1, 1, 2))
    means = [float(np.asarray(cut.picture).mean()) for cut in first]
    assert len(set(means)) == 3
    assert means == [float(np.asarray(cut.picture).mean()) for cut in again]
    assert means != [float(np.asarray(cut.picture).mean()) for cut in other]


@pytest.mark.parametrize("crop", ["centre", "random"])
@pytest.mark.parametrize("size", [(300, 200), (200, 333), (200, 200)])
def test_a_cut_says_where_it_was(size: tuple[int, int], crop: Crop) -> None:
    side = 100
    ramps = np.zeros((size[1], size[0], 3), np.uint8)
    # The place of each pixel, as it is after the picture is made smaller.
    ramps[..., 0] = (np.arange(size[0]) * side / min(size))[None, :]
    ramps[..., 1] = (np.arange(size[1]) * side / min(size))[:, None]
    for cut in cuts(Image.fromarray(ramps), side, crop, 4, chance(3)):
        assert cut.original == (size[1], size[0])
        found = np.asarray(cut.picture).astype(int)[side // 2, side // 2]
        assert found[0] - side // 2 == pytest.approx(cut.corner[1], abs=2)
        assert found[1] - side // 2 == pytest.approx(cut.corner[0], abs=2)
        mirrored = cut.mirrored()
        assert np.array_equal(np.asarray(mirrored.picture), np.asarray(cut.picture)[:, ::-1])
        whole = round(size[0] * side / min(size))
        assert mirrored.corner == (cut.corner[0], whole - side - cut.corner[1])


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (120, 80), _BLUE)
    lying.paste(_RED, (0, 0, 40, 80))
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    lying.save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = read_picture(tmp_path / "a.jpg", 64)
    assert upright.size == (80, 120)
    assert _extent(upright.crop((0, 0, 80, 40))) == (80, 40)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16", "LA"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (64, 64)).save(file)
    assert read_picture(file, 64).mode == "RGB"


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 64).getpixel((5, 5)) == (255, 255, 255)


def test_a_text_file_holds_the_prompt_of_its_picture(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "notes.md"):
        Image.new("RGB", (64, 64)).save(tmp_path / name, format="PNG")
    (tmp_path / "a.txt").write_text(" a unqtkn in the snow\n")
    examples = find_examples(tmp_path, "unqtkn", "a unqtkn")
    assert [(one.path.name, one.prompt) for one in examples] == [
        ("a.jpeg", "a unqtkn in the snow"),
        ("b.PNG", "a unqtkn"),
    ]
    (tmp_path / "a.txt").write_text("a unqtkns in the snow")
    with pytest.raises(TrainingError, match=r"a\.txt does not have the word 'unqtkn' in it"):
        find_examples(tmp_path, "unqtkn", "a unqtkn")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match=r"a\.txt is not a text in UTF-8"):
        find_examples(tmp_path, "unqtkn", "a unqtkn")


def test_folders_that_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="missing does not exist"):
        find_examples(tmp_path / "missing", "unqtkn", "a unqtkn")
    with pytest.raises(TrainingError, match=r"has no pictures \(files ending in \.png, \.jpg"):
        find_examples(tmp_path, "unqtkn", "a unqtkn")


def test_pictures_that_cannot_be_trained_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.effect_noise((90, 70), 50).save(whole)
    cut_off, text = tmp_path / "cut.png", tmp_path / "text.png"
    cut_off.write_bytes(whole.read_bytes()[:800])
    text.write_text("no picture")
    for file in (cut_off, text):
        with pytest.raises(TrainingError, match=f"{file.name} cannot be read as a picture"):
            read_picture(file, 64)
    with pytest.raises(TrainingError, match="has 90 x 70 pixels; it needs at least 72 in both"):
        read_picture(whole, 72)
