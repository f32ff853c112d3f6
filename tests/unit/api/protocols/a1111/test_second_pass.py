"""Pictures that are finished by a second pass, or by another model."""

from __future__ import annotations

from dataclasses import replace

from starlette.testclient import TestClient

from api.protocols.a1111.infotext import parse
from contract.request import OutputFormat
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.families import XL
from tests.unit.api.protocols.a1111.conftest import make, opened


def test_a_second_pass(client: TestClient, backend: ColourBackend) -> None:
    body = make(
        client,
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler="Latent",
        hr_second_pass_steps=4,
        denoising_strength=0.5,
        hr_prompt="a plum",
        batch_size=2,
        width=64,
        height=72,
        seed=9,
        override_settings={"samples_format": "webp"},
    )

    first, *second = backend.requests
    assert (first.output_format, first.num_images) == (OutputFormat.PNG, 2)
    assert [(one.seed, one.width, one.height) for one in second] == [(9, 96, 104), (10, 96, 104)]
    assert {one.prompt for one in second} == {"a plum"}
    assert {(one.strength, one.num_inference_steps) for one in second} == {(0.5, 8)}
    assert all(one.init_image for one in second)
    assert [opened(file).format for file in body["images"]] == ["WEBP"] * 2
    assert opened(body["images"][0]).size == (96, 104)
    assert body["info"]["ignored"] == ["hr_upscaler: Lanczos is what there is"]
    fields = parse(body["info"]["infotexts"][0])
    assert (fields["Hires upscale"], fields["Hires upscaler"]) == ("1.5", "Lanczos")
    assert (fields["Size-1"], fields["Denoising strength"]) == ("64", "0.5")


def test_a_refiner(client: TestClient, backend: ColourBackend) -> None:
    refiner = replace(XL, name="xl-refiner", tasks=("img2img",), is_refiner=True, refiner=None)
    backend.models = (XL, refiner)
    make(client, refiner_checkpoint="xl-refiner", refiner_switch_at=0.6, sampler_name="Euler")

    (wanted,) = backend.requests
    assert [(one.model, one.start) for one in wanted.segments] == [("xl", 0), ("xl-refiner", 0.6)]
