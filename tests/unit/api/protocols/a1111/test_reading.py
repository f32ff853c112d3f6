"""From the parameters in files to the requests that make them again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from api.parameters import LoraParameter, RefinerParameter
from api.protocols.a1111.infotext import parse
from api.protocols.a1111.reading import Reading, read
from api.protocols.native.schemas import Img2ImgBody
from contract.request import LoraUse, Segment
from engine.stages.infotext import to_text
from models.architectures import SCHEDULERS
from tests.conftest import make_request
from tests.effort import effort
from tests.unit.api.protocols.a1111.test_file_texts import THEIRS


def test_ours_are_read_as_they_were_sent() -> None:
    request = make_request(
        prompt="a, (b:1.2): [c]\nSteps: 3 AND <lora:x:1>",
        negative_prompt="ünï \U0001f34e",
        prompt_2="for, the: second",
        guidance_start=0.1,
        guidance_end=0.6,
        guidance_rescale=0.7,
        skip_layers=(7, 8),
        skip_layer_scale=2.5,
        original_size=(512, 640),
        crop=(8, 16),
        aesthetic_score=7.5,
        strength=0.6,
        loras=(LoraUse("clay:v1", 0.8), LoraUse("wool:v2", -1.0)),
        segments=(Segment("embedded", 0, 0.75), Segment("finisher", 0.75, 1)),
    )
    reading = read(parse(to_text(request, screening=("blank",))))

    assert reading.notes == ()
    again = Img2ImgBody.model_validate(reading.request).parameters()
    for name in (
        *("prompt", "negative_prompt", "prompt_2", "width", "height", "num_inference_steps"),
        *("guidance_scale", "guidance_start", "guidance_end", "guidance_rescale", "skip_layers"),
        *("skip_layer_scale", "original_size", "crop", "aesthetic_score", "strength", "seed"),
        *("scheduler", "model"),
    ):
        assert getattr(again, name) == getattr(request, name), name
    assert again.loras == (LoraParameter("clay", 0.8), LoraParameter("wool", -1.0))
    assert again.refiner == RefinerParameter(model="finisher", switch_at=0.75)
    for scheduler in SCHEDULERS:
        text = to_text(make_request(scheduler=scheduler))
        assert read(parse(text)).request["scheduler"] == scheduler


def test_the_web_uis_are_put_into_our_words() -> None:
    reading = read(parse(THEIRS))

    assert reading.request == {
        "prompt": "girl, (hat:1.2), \nsecond line",
        "negative_prompt": "ugly, (blurry:0.909091)\ndeformed",
        "loras": [{"name": "clay", "scale": 0.8}],
        "num_inference_steps": 20,
        "scheduler": "dpmpp_2m_karras",
        "guidance_scale": 7.0,
        "seed": 965400086,
        "width": 512,
        "height": 768,
        "model": "v1-5",
    }
    assert reading.notes == ()


def test_what_cannot_be_used_is_said() -> None:
    text = (
        "a cat\nSteps: many, Sampler: DPM++ SDE, Schedule type: Exponential, Seed: 1, "
        "Denoising strength: 0.7, Hires upscale: 2, Clip skip: 2, Guidance interval: wide"
    )
    reading = read(parse(text))
    assert reading.request == {"prompt": "a cat", "seed": 1}
    for beginning in ("Steps: ", "Sampler must be", "Denoising strength: ", "Clip skip: "):
        assert any(note.startswith(beginning) for note in reading.notes), beginning
    assert 'Guidance interval: "wide" cannot be read' in reading.notes

    mixed = read(parse("a\nSteps: 1, Sampler: Euler, Schedule type: Karras, Seed: 2"))
    assert mixed.request["scheduler"] == "euler"
    assert any("Schedule type must be" in note for note in mixed.notes)
    brackets = read(parse("(" * 501 + "\nSteps: 1, Sampler: Euler, Seed: 2"))
    assert brackets.request["prompt"] == "(" * 501
    assert "at most 500 brackets" in brackets.notes[0]
    assert read({}) == Reading({}, ())
    long = read({"Prompt": "x" * 100_001, **{f"{n} {'y' * 300}": "" for n in range(40)}})
    assert long.request == {}
    assert (len(long.notes), len(long.notes[1])) == (33, 203)


_VALUES = st.text(st.sampled_from('a0-.:,x"e '), max_size=12)
_NAMES = st.sampled_from(
    (
        *("Prompt", "Sampler", "Schedule type", "Steps", "CFG scale", "Size-1", "LoRAs", "Refiner"),
        *("Guidance interval", "Crop-1", "Crop-2", "Skip layers", "Denoising strength", "Other"),
    )
)


@bounded(max_examples=effort(100, 2000), deadline=None)
@given(st.dictionaries(_NAMES, _VALUES, max_size=8))
def test_whatever_they_are_it_is_a_body(parameters: dict[str, str]) -> None:
    Img2ImgBody.model_validate({"prompt": "", **read(parameters).request})
