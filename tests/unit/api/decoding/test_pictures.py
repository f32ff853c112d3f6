from __future__ import annotations

import json

import PIL.Image
import pytest

from api.decoding import pictures
from api.decoding.job import LANCZOS, Fit, Job, Sizing
from contract.errors import ErrorCode, RequestError
from tests import uploads

MAX_PIXELS = 16_000_000


@pytest.mark.parametrize("name", uploads.ODD)
def test_odd_pictures_become_upright_opaque_rgb(name: str) -> None:
    data, size, colour = uploads.ODD[name]

    picture = pictures.decode(data, MAX_PIXELS, "img")

    assert (picture.mode, picture.size) == ("RGB", size)
    found = picture.getpixel((0, 0))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= 2 for a, b in zip(found, colour, strict=True))


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_broken_files_are_refused(name: str) -> None:
    data, code = uploads.BROKEN[name]

    with pytest.raises(RequestError) as refused:
        pictures.decode(data, MAX_PIXELS, "img")

    assert refused.value.code is code
    assert refused.value.field == "img"
    assert "img" in refused.value.message


def test_a_mask_may_be_what_is_transparent() -> None:
    mask = PIL.Image.new("RGBA", (40, 20), (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 20, 20))
    files = [uploads.encode(uploads.red_and_blue()), uploads.encode(mask)]
    sizing = Sizing(40, 20, native=(64, 64), multiple=4, sides=(4, 64), max_pixels=4096)
    job = Job(
        picture="image",
        mask="mask",
        mask_is_alpha=True,
        max_input_pixels=MAX_PIXELS,
        sizing=sizing,
        resample=LANCZOS,
    )
    job = Job.from_json(json.loads(json.dumps(job.to_json())))
    begun: list[str] = []

    decoded = pictures.run(job, files, begun.append)

    assert decoded.mask == (b"\xff" * 20 + bytes(20)) * 20
    assert begun == ["image", "mask"]
    opaque = uploads.encode(uploads.red_and_blue())
    with pytest.raises(RequestError, match="mask must have an alpha channel") as refused:
        pictures.run(job, [opaque, opaque], begun.append)
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_REQUEST, "mask")


def test_the_pixel_limit_is_exact() -> None:
    data = uploads.encode(uploads.red_and_blue())

    assert pictures.decode(data, 800, "img").size == (40, 20)
    with pytest.raises(RequestError, match=r"at most 799 pixels, got 40 x 20"):
        pictures.decode(data, 799, "img")


def test_only_our_own_pixel_limit_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 500)  # the picture's 800 make it warn
    with pytest.warns(PIL.Image.DecompressionBombWarning):
        assert pictures.decode(uploads.encode(uploads.red_and_blue()), 800, "img").size == (40, 20)


@pytest.mark.parametrize(
    ("picture", "native", "expected"),
    [
        ((128, 128), (64, 64), (64, 64)),
        ((40, 20), (64, 64), (88, 64)),  # 90.5 x 45.3, and no side below 64
        ((1000, 500), (512, 512), (728, 360)),
        ((500, 1000), (512, 512), (360, 728)),
        ((16_000, 10), (512, 512), (2048, 64)),
        ((1, 1), (512, 512), (512, 512)),
    ],
)
def test_fit_keeps_aspect_ratio_and_area(
    picture: tuple[int, int], native: tuple[int, int], expected: tuple[int, int]
) -> None:
    sizing = Sizing(None, None, native, multiple=8, sides=(64, 2048), max_pixels=2048**2)
    assert sizing.of(picture) == expected


@pytest.mark.parametrize("picture", [(640, 40), (40, 640), (100, 100), (300, 200)])
def test_fit_stays_within_the_largest_picture(picture: tuple[int, int]) -> None:
    sizing = Sizing(None, None, (64, 64), multiple=8, sides=(64, 2048), max_pixels=5120)
    width, height = sizing.of(picture)

    assert width * height <= 5120
    assert min(width, height) >= 64
    assert (width >= height) == (picture[0] >= picture[1])


def test_to_bytes_resizes_to_exactly_the_size() -> None:
    data = pictures.to_bytes(uploads.red_and_blue(), 64, 32)

    assert len(data) == 64 * 32 * 3
    assert data[:3] == bytes(uploads.RED)
    assert data[-3:] == bytes(uploads.BLUE)


def test_to_bytes_keeps_the_aspect_ratio_where_that_is_wanted() -> None:
    # Two to one: its ends are 200, and so is the band through its middle.
    picture = PIL.Image.new("L", (40, 20), 9)
    for box in ((0, 0, 8, 20), (32, 0, 40, 20), (0, 8, 40, 12)):
        picture.paste(200, box)

    def fitted(fit: Fit) -> PIL.Image.Image:
        data = pictures.to_bytes(picture, 20, 20, PIL.Image.Resampling.NEAREST, fit)
        return PIL.Image.frombytes("L", (20, 20), data)

    cut, whole, distorted = fitted("crop"), fitted("extend"), fitted("stretch")
    # The ends are cut off; of the whole, the edges go on above and below.
    assert cut.getextrema() == (9, 200)
    assert {cut.getpixel((0, y)) for y in (0, 19)} == {9}
    assert cut.tobytes().count(200) == 20 * 4
    assert whole.crop((0, 0, 20, 5)).tobytes() == whole.crop((0, 15, 20, 20)).tobytes()
    assert {whole.getpixel((x, 0)) for x in (0, 3, 16, 19)} == {200}
    assert whole.crop((4, 0, 16, 20)).tobytes().count(200) == 12 * 2
    assert distorted.crop((4, 0, 16, 20)).tobytes().count(200) == 12 * 4
