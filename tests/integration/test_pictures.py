"""The main job: pictures from text and from pictures, over HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageChops
import PIL.ImageStat
import pytest

from tests import uploads
from tests.integration.server import Server

FORMATS = ("png", "jpeg", "webp")
PROMPT = "a red apple on a blue background"
FAST = {"num_inference_steps": 2, "strength": 1.0}
INPUT = uploads.encode(uploads.red_and_blue())


def open_picture(data: bytes) -> PIL.Image.Image:
    picture = PIL.Image.open(BytesIO(data))
    picture.load()
    return picture


def metadata(picture: PIL.Image.Image) -> str:
    """The parameters inside a file, as any reader of the convention finds them."""
    if picture.format == "PNG":
        text = picture.info["parameters"]
        assert isinstance(text, str)
        return text
    comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    return str(comment[8:].decode("utf-16-be"))


def request_from(text: str) -> dict[str, Any]:
    """Read parameters back into a request body."""
    *prompts, settings = text.split("\n")
    body: dict[str, Any] = {"prompt": prompts[0]}
    if len(prompts) > 1:
        body["negative_prompt"] = prompts[1].removeprefix("Negative prompt: ")
    values = dict(pair.split(": ") for pair in settings.split(", "))
    width, height = values["Size"].split("x")
    body |= {
        "num_inference_steps": int(values["Steps"]),
        "scheduler": values["Sampler"],
        "guidance_scale": float(values["CFG scale"]),
        "seed": int(values["Seed"]),
        "width": int(width),
        "height": int(height),
        "model": values["Model"],
    }
    if "Denoising strength" in values:
        body["strength"] = float(values["Denoising strength"])
    return body


def img2img(server: Server, picture: bytes, body: dict[str, Any]) -> Any:
    files: dict[str, Any] = {"img": ("in.png", picture), "data": (None, json.dumps(body))}
    return server.client.post("/img2img", files=files)


def inpaint(server: Server, picture: bytes, mask: bytes, body: dict[str, Any]) -> Any:
    files: dict[str, Any] = {
        "img": ("in.png", picture),
        "mask": ("mask.png", mask),
        "data": (None, json.dumps(body)),
    }
    return server.client.post("/inpaint", files=files)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_curl_lines_of_the_original_example(server: Server, tmp_path: Path) -> None:
    (tmp_path / "input.jpg").write_bytes(uploads.ODD["jpeg"][0])
    for line in (
        "curl -X POST http://127.0.0.1:3000/txt2img -H 'Content-Type: application/json' "
        '-d \'{"prompt":"..."}\' --output out.png',
        "curl -X POST http://127.0.0.1:3000/img2img -F img=@input.jpg "
        '-F data=\'{"prompt":"..."}\' --output out.png',
    ):
        command = line.replace(":3000", f":{server.port}")
        subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)
        picture = open_picture((tmp_path / "out.png").read_bytes())
        assert picture.format == "PNG"
        (tmp_path / "out.png").unlink()


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_picture_can_be_made_again_from_itself(server: Server, file_format: str) -> None:
    body = {"prompt": PROMPT, "negative_prompt": "blurry", "output_format": file_format}
    first = server.client.post("/txt2img", json=body)
    assert first.status_code == 200
    assert first.headers["content-type"] == f"image/{file_format}"
    picture = open_picture(first.content)

    again = request_from(metadata(picture)) | {"output_format": file_format}
    assert str(again["seed"]) == first.headers["x-seed"]
    assert again["model"] == first.headers["x-model"]
    second = server.client.post("/txt2img", json=again)

    assert open_picture(second.content).tobytes() == picture.tobytes()
    assert metadata(open_picture(second.content)) == metadata(picture)


def test_so_can_one_from_a_picture(server: Server) -> None:
    first = img2img(server, INPUT, {"prompt": PROMPT, "num_inference_steps": 6, "strength": 0.7})
    picture = open_picture(first.content)

    second = img2img(server, INPUT, request_from(metadata(picture)))

    assert open_picture(second.content).tobytes() == picture.tobytes()


def test_inpainting_changes_what_is_under_the_mask_and_keeps_the_rest(server: Server) -> None:
    apple = {"prompt": PROMPT, "num_inference_steps": 10, "seed": 3}
    original = server.client.post("/txt2img", json=apple).content
    mask = PIL.Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    body = {"prompt": "a green apple on a yellow background", "num_inference_steps": 10, "seed": 4}
    response = inpaint(server, original, uploads.encode(mask), body)

    assert response.status_code == 200, response.text
    before, after = open_picture(original), open_picture(response.content)
    difference = PIL.ImageChops.difference(before, after).convert("L")
    # What is kept goes through the autoencoder once, and the seam is soft by a latent or two.
    kept, painted = ((0, 0, 24, 64), (40, 0, 64, 64))
    kept_change, painted_change = (
        PIL.ImageStat.Stat(difference.crop(box)).mean[0] for box in (kept, painted)
    )
    assert kept_change < 16
    assert painted_change > 64


def test_several_pictures_are_those_of_their_seeds(server: Server) -> None:
    body = {"prompt": PROMPT, "num_inference_steps": 8, "seed": 11}
    answer = server.client.post("/txt2img", json={**body, "num_images": 3})
    assert answer.status_code == 200, answer.text

    images = answer.json()["images"]
    assert [(image["index"], image["seed"]) for image in images] == [(0, 11), (1, 12), (2, 13)]
    for image in images:
        alone = server.client.post("/txt2img", json={**body, "seed": image["seed"]})
        one, other = open_picture(alone.content), open_picture(base64.b64decode(image["data"]))
        assert metadata(one) == metadata(other)
        # Rows that share a pass may round differently, in the last place.
        difference = PIL.ImageStat.Stat(PIL.ImageChops.difference(one, other))
        assert max(highest for _, highest in difference.extrema) <= 1


def test_several_pictures_from_a_picture(server: Server) -> None:
    response = img2img(server, INPUT, {"prompt": PROMPT, **FAST, "num_images": 2})

    assert response.status_code == 200, response.text
    files = {image["data"] for image in response.json()["images"]}
    assert len(files) == 2


def test_a_long_prompt_says_what_was_dropped(server: Server) -> None:
    body = {"prompt": PROMPT + ", é" * 600, "num_inference_steps": 1}
    response = server.client.post("/txt2img", json=body)

    assert response.status_code == 200
    assert response.headers["x-warnings"].isascii()
    warnings = json.loads(response.headers["x-warnings"])
    assert warnings
    assert all(isinstance(sentence, str) and sentence for sentence in warnings)

    short = server.client.post("/txt2img", json={**body, "prompt": PROMPT})
    assert "x-warnings" not in short.headers


def test_seeds_matter(server: Server) -> None:
    body = {"prompt": PROMPT, "num_inference_steps": 2}
    pictures = {
        server.client.post("/txt2img", json={**body, "seed": seed}).content for seed in (1, 2)
    }
    assert len(pictures) == 2


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmpp_2m_karras", "lcm", "heun"])
def test_schedulers(server: Server, scheduler: str) -> None:
    body = {"prompt": PROMPT, "num_inference_steps": 3, "scheduler": scheduler}

    assert server.client.post("/txt2img", json=body).status_code == 200


@pytest.mark.parametrize("name", uploads.ODD)
def test_odd_input_pictures(server: Server, name: str) -> None:
    data, size, _ = uploads.ODD[name]
    response = img2img(server, data, {"prompt": PROMPT, **FAST})

    assert response.status_code == 200, response.text
    picture = open_picture(response.content)
    # Landscape stays landscape, and a picture that EXIF turns is turned.
    assert (picture.width > picture.height) is (size[0] > size[1])
    assert (picture.width < picture.height) is (size[0] < size[1])


def test_explicit_sizes(server: Server) -> None:
    size = {"width": 72, "height": 64}
    for response in (
        server.client.post("/txt2img", json={"prompt": PROMPT, "num_inference_steps": 2, **size}),
        img2img(server, INPUT, {"prompt": PROMPT, **FAST, **size}),
    ):
        assert open_picture(response.content).size == (72, 64)


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("", ""),
        ("\x00\x07\x1b", "   "),
        ("line\nSteps: 1, Seed: 3", "line\nSteps : 1, Seed: 3"),
        ("\U0001f34e\u202e é", "\U0001f34e\u202e é"),
        ("x" * 2000, "x" * 2000),
    ],
)
@pytest.mark.parametrize("file_format", FORMATS)
def test_odd_prompts(server: Server, prompt: str, written: str, file_format: str) -> None:
    body = {"prompt": prompt, "num_inference_steps": 1, "output_format": file_format}
    response = server.client.post("/txt2img", json=body)

    assert response.status_code == 200
    assert metadata(open_picture(response.content)).startswith(written)


def test_concurrent_requests_share_passes_and_keep_apart(server: Server) -> None:
    def draw(seed: int) -> Any:
        body = {"prompt": PROMPT, "seed": seed, "num_inference_steps": 10 + seed}
        return server.client.post("/txt2img", json=body)

    jobs, passes = (server.metric(f"sd_step_batch_size_{suffix}") for suffix in ("sum", "count"))
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(draw, range(8)))

    assert [response.status_code for response in responses] == [200] * 8
    assert [response.headers["x-seed"] for response in responses] == list("01234567")
    for seed, response in enumerate(responses):
        assert f"Seed: {seed}," in metadata(open_picture(response.content))
    jobs = server.metric("sd_step_batch_size_sum") - jobs
    passes = server.metric("sd_step_batch_size_count") - passes
    assert jobs > passes
