"""SDXL and its refiner over HTTP, with memory for one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
import yaml

from tests.integration.server import Server, serving
from tests.unit.models import tiny
from tests.unit.models.conftest import DEFAULTS

pytestmark = pytest.mark.slow

BODY: dict[str, Any] = {
    "model": "xl",
    "prompt": "a red apple",
    "num_inference_steps": 5,
    "seed": 3,
    "scheduler": "euler",
}


@pytest.fixture(scope="module")
def xl_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sdxl")
    common = {"family": "sdxl", "licence": "none", "defaults": DEFAULTS}
    entries: list[dict[str, Any]] = [
        {**common, "name": "xl", "refiner": "xl-refiner"},
        {**common, "name": "xl-refiner", "tasks": ["img2img"]},
    ]
    sizes = []
    for entry, refiner in zip(entries, (False, True), strict=True):
        pipeline = tiny.sdxl(refiner=refiner)
        pipeline.save_pretrained(folder / entry["name"])
        entry["source"] = {"type": "directory", "path": entry["name"]}
        modules = [each for each in pipeline.components.values() if hasattr(each, "parameters")]
        sizes.append(sum(weight.nbytes for each in modules for weight in each.parameters()))
    catalog = folder / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"models": entries}))
    with serving(
        folder,
        host="local",
        SD_CATALOG=str(catalog),
        SD_MODELS="xl,xl-refiner",
        SD_MODEL_MEMORY=str(max(sizes)),
    ) as server:
        yield server


def png(response: Any) -> PIL.Image.Image:
    assert response.status_code == 200, response.text
    return PIL.Image.open(BytesIO(response.content))


def test_base_and_refiner_take_turns(xl_server: Server) -> None:
    post = xl_server.client.post
    alone = png(post("/txt2img", json=BODY))
    wanted = {**BODY, "refiner": {"switch_at": 0.6, "aesthetic_score": 7}}
    refined, again = (png(post("/txt2img", json=wanted)) for _ in range(2))
    assert refined.tobytes() == again.tobytes()
    assert refined.tobytes() != alone.tobytes()
    parameters = str(refined.info["parameters"])
    assert parameters.endswith("Refiner: xl-refiner, Refiner switch at: 0.6")
    assert "Aesthetic score: 7" in parameters
    assert xl_server.metric("sd_model_load_seconds_count", model="xl-refiner") >= 1


def test_the_refiner_alone(xl_server: Server) -> None:
    file = BytesIO()
    PIL.Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    data = {"prompt": "a", "model": "xl-refiner", "strength": 0.5, "num_inference_steps": 4}
    post = xl_server.client.post
    picture = png(post("/img2img", files={"img": file.getvalue()}, data={"data": json.dumps(data)}))
    assert picture.size == (64, 64)
    response = post("/txt2img", json={**BODY, "model": "xl-refiner"})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "model")


def test_no_negative_prompt_is_another_picture_than_an_empty_one(xl_server: Server) -> None:
    post = xl_server.client.post
    none, null, empty = (
        png(post("/txt2img", json={**BODY, **negative})).tobytes()
        for negative in ({}, {"negative_prompt": None}, {"negative_prompt": ""})
    )
    assert none == null != empty


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scheduler": "heun", "refiner": {}}, "scheduler"),
        ({"refiner": {"switch_at": 1.0}}, "refiner.switch_at"),
        ({"crop": [0, -8]}, "crop"),
        ({"width": 100}, "width"),
        ({"aesthetic_score": 5}, "aesthetic_score"),
    ],
)
def test_mistakes_are_named(xl_server: Server, changes: dict[str, Any], field: str) -> None:
    response = xl_server.client.post("/txt2img", json={**BODY, **changes})
    assert response.status_code == 422, response.text
    assert response.json()["error"]["field"] == field
