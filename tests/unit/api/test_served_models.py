"""Names of models and LoRAs, and the way from a prompt to a model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ByteSize

from api.parameters import LoraParameter
from api.served_models import ServedModels
from contract.errors import ErrorCode, RequestError
from contract.request import LoraUse
from settings import Settings
from tests.unit.api.conftest import TINY, ColourBackend, make_lora

OTHER = replace(TINY, name="other", tasks=("txt2img",))


@pytest.fixture
def backend() -> ColourBackend:
    backend = ColourBackend()
    backend.models = (TINY, OTHER)
    backend.loras = (
        make_lora("clay", subject_token="unqtkn"),
        make_lora("wool"),
        make_lora("ink", base="other", subject_token="inkling"),
        make_lora("absent", base="sd-9"),
        make_lora("other"),
    )
    return backend


@pytest.fixture
def served(backend: ColourBackend) -> ServedModels:
    return ServedModels(backend, Settings())


def refusal(
    served: ServedModels,
    name: str | None,
    *loras: str,
    prompt: str = "x",
    scale: float = 1.0,
) -> RequestError:
    bodies = [LoraParameter(lora, scale) for lora in loras]
    with pytest.raises(RequestError) as refused:
        served.snapshot().choose(name, prompt, "txt2img", bodies)
    return refused.value


def test_what_can_be_named(served: ServedModels, backend: ColourBackend) -> None:
    choices = [(one.name, one.model.name, one.kind) for one in served.snapshot().choices()]
    assert choices == [
        ("tiny", "tiny", "base"),
        ("other", "other", "base"),
        ("clay", "tiny", "lora"),
        ("wool", "tiny", "lora"),
        ("ink", "other", "lora"),
    ]
    backend.loras = ()
    assert [one.name for one in served.snapshot().choices()] == ["tiny", "other"]


def test_a_lora_is_a_model_of_its_own(served: ServedModels) -> None:
    choice = served.snapshot().choose("ink", "x", "txt2img")

    assert (choice.name, choice.model.name) == ("ink", "other")
    assert choice.uses == (LoraUse("ink:v1", 1.0),)
    assert served.snapshot().choose(None, "unqtkn", "txt2img").name == "tiny"
    assert served.snapshot().choose("tiny", "unqtkn", "txt2img").uses == ()


def test_loras_are_combined(served: ServedModels) -> None:
    wool = LoraParameter("wool", -0.5)

    assert served.snapshot().choose("tiny", "x", "txt2img", [wool, LoraParameter("clay")]).uses == (
        LoraUse("wool:v1", -0.5),
        LoraUse("clay:v1", 1.0),
    )
    assert served.snapshot().choose("clay", "x", "txt2img", [wool]).uses == (
        LoraUse("clay:v1", 1.0),
        LoraUse("wool:v1", -0.5),
    )


def test_unknown_names(served: ServedModels, backend: ColourBackend) -> None:
    error = refusal(served, "absent")
    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "model")
    assert error.message == (
        'model must be auto or one of tiny, other, clay, wool, ink, got "absent"'
    )
    error = refusal(served, "tiny", "clay", "felt")
    assert (error.code, error.field) == (ErrorCode.NOT_FOUND, "loras.1.name")
    assert error.message == (
        'loras.1.name must be a LoRA of tiny, which are clay, wool; got "felt"'
    )
    # A model is none, and neither is what was there a minute ago.
    assert refusal(served, "tiny", "tiny").code is ErrorCode.NOT_FOUND
    backend.loras = ()
    assert refusal(served, "clay").code is ErrorCode.NOT_FOUND
    assert refusal(served, "tiny", "clay").message == (
        'loras.0.name must be a LoRA of tiny, which are none; got "clay"'
    )
    backend.loras = [make_lora(f"lora-{index}") for index in range(500)]
    assert refusal(served, "felt").message.endswith(
        'lora-17, ... (GET /models has all), got "felt"'
    )


def test_loras_of_another_base(served: ServedModels) -> None:
    error = refusal(served, "tiny", "ink")
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "loras.0.name")
    assert error.message == (
        'loras.0.name must be a LoRA of tiny, got "ink", which is one of other'
    )
    assert refusal(served, "auto", "clay", prompt="an inkling").field == "loras.0.name"


def test_loras_are_there_once(served: ServedModels) -> None:
    error = refusal(served, "tiny", "clay", "wool", "clay")
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "loras.2.name")
    assert error.message == 'loras.2.name must be one that is not there yet, got "clay" again'
    error = refusal(served, "clay", "clay")
    assert error.field == "loras.0.name"
    assert error.message.endswith('got "clay" again and is the model itself')


def test_loras_that_do_not_fit_together(backend: ColourBackend) -> None:
    served = ServedModels(backend, Settings(lora_memory=ByteSize(1999)))

    assert served.snapshot().choose("clay", "x", "txt2img").name == "clay"
    error = refusal(served, "clay", "wool")
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "loras")
    assert error.message == (
        "the weights of all LoRAs of a request must take at most 1999 bytes, got 2000"
    )
    served = ServedModels(backend, Settings(lora_memory=ByteSize(999)))
    assert refusal(served, "clay").field == "model"


def test_compiled_models_take_no_loras(backend: ColourBackend) -> None:
    served = ServedModels(backend, Settings(compile="openvino"))

    assert [one.name for one in served.snapshot().choices()] == ["tiny", "other"]
    error = refusal(served, "tiny", "clay")
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "loras")
    assert error.message == (
        "loras must name no LoRA, as the models are compiled (SD_COMPILE=openvino)"
    )
    error = refusal(served, "clay")
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "model")
    assert 'SD_COMPILE=openvino), got "clay"' in error.message
    assert refusal(served, "felt").code is ErrorCode.NOT_FOUND
    # The word is only a word then.
    assert served.snapshot().choose("auto", "unqtkn", "txt2img").name == "tiny"


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red apple", "tiny"),
        ("", "tiny"),
        ("unqtkn", "clay"),
        ("a photo of UnqTkn, please", "clay"),
        ("a (unqtkn:1.3) on grass", "clay"),
        ("an unqtkn-like thing", "clay"),
        ("unqtkns", "tiny"),
        ("myunqtkn", "tiny"),
        ("unqtkn_2", "tiny"),
        ("an inkling beside unqtkn", "ink"),
        ("unqtkn beside an inkling", "clay"),
    ],
)
def test_the_prompt_chooses(served: ServedModels, prompt: str, name: str) -> None:
    assert served.snapshot().choose("auto", prompt, "txt2img").name == name


def test_the_choice_is_the_same_every_time(backend: ColourBackend, served: ServedModels) -> None:
    def made(name: str, token: str, day: int) -> object:
        return make_lora(name, subject_token=token, created=datetime(2026, 1, day, tzinfo=UTC))

    old, new, twin = made("old", "sks", 1), made("new", "sks", 2), made("a-twin", "sks", 2)
    dog = make_lora("dog", subject_token="sks-dog")
    for loras in ([old, new, twin], [twin, new, old]):
        backend.loras = loras  # type: ignore[assignment]
        assert served.snapshot().choose("auto", "a sks cat", "txt2img").name == "a-twin"
        backend.loras = [*loras, dog]  # type: ignore[list-item]
        assert served.snapshot().choose("auto", "a sks-dog", "txt2img").name == "dog"


def test_words_that_are_no_patterns(backend: ColourBackend, served: ServedModels) -> None:
    backend.loras = [make_lora("toy", subject_token="<cat.toy>")]

    assert served.snapshot().choose("auto", "my <cat.toy>!", "txt2img").name == "toy"
    assert served.snapshot().choose("auto", "my <cat-toy>!", "txt2img").name == "tiny"


def test_a_model_that_cannot_do_it_is_not_chosen(served: ServedModels) -> None:
    assert served.snapshot().choose("auto", "an inkling, and unqtkn", "inpaint").name == "clay"
    with pytest.raises(RequestError, match="model must be one that can do inpaint; ink can do"):
        served.snapshot().choose("ink", "x", "inpaint")


def test_whole_pipelines_are_chosen_too(backend: ColourBackend, served: ServedModels) -> None:
    provenance = make_lora("any", subject_token="sks").provenance
    backend.models = (TINY, replace(OTHER, provenance=provenance, size=5))
    choice = served.snapshot().choose("auto", "a sks dog", "txt2img")

    assert (choice.name, choice.kind, choice.size, choice.uses) == ("other", "full", 5, ())
