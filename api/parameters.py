"""The parameters of a generation, and their errors, in names that no protocol owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from api.decoding.job import Fit, PictureFault, filled
from contract.errors import ErrorCode, RequestError
from models.catalog import Task

Names = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class LoraParameter:
    """A LoRA by the name that clients know; ``scale`` 1 is as it was trained."""

    name: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinerParameter:
    """A model that finishes the picture.

    Attributes:
        model: a name; None for the one that belongs to the model.
        switch_at: fraction of the noise schedule at which it takes over.
        aesthetic_score: what it is told; likewise ``negative_aesthetic_score``.
    """

    model: str | None = None
    switch_at: float | None = None
    aesthetic_score: float | None = None
    negative_aesthetic_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParameters:
    """Everything that a client may say about a generation; None stands for the default.

    Nothing is checked yet: ``api.validation`` makes a ``GenerationRequest`` of it, whose attributes
    have the same names and meaning.

    Attributes:
        prompt: the text, or the template if ``expand_prompt``.
        model: a name, None for the default, or ``auto`` for the one that the prompt belongs to.
        original_size: height and width in pixels; ``crop`` top and left.
        seed: None or -1 for a random one.
        init_image: img2img and inpainting: the picture's file, as it was uploaded; of use only as
            long as the body that it is in (``api.uploads``).
        mask: inpainting: the mask's file, likewise.
        mask_is_alpha: whether what is transparent in the mask is inpainted, and not what is white.
        fit: how picture and mask come to another aspect ratio.
        invert_mask: whether black is inpainted, and white kept.
    """

    task: Task
    prompt: str
    prompt_2: str | None = None
    prompt_3: str | None = None
    negative_prompt: str | None = None
    negative_prompt_2: str | None = None
    negative_prompt_3: str | None = None
    expand_prompt: bool = False
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_start: float | None = None
    guidance_end: float | None = None
    guidance_rescale: float | None = None
    skip_layers: tuple[int, ...] | None = None
    skip_layer_scale: float | None = None
    skip_layer_start: float | None = None
    skip_layer_end: float | None = None
    original_size: tuple[int, ...] | None = None
    crop: tuple[int, ...] | None = None
    aesthetic_score: float | None = None
    negative_aesthetic_score: float | None = None
    refiner: RefinerParameter | None = None
    scheduler: str | None = None
    seed: int | None = None
    num_images: int | None = None
    model: str | None = None
    loras: tuple[LoraParameter, ...] = ()
    strength: float | None = None
    output_format: str | None = None
    output_quality: int | None = None
    previews: bool = False
    init_image: bytes | memoryview | None = None
    mask: bytes | memoryview | None = None
    mask_is_alpha: bool = False
    fit: Fit = "stretch"
    invert_mask: bool = False


class ParameterError(RequestError):
    """A parameter that cannot be served, in a sentence that any protocol can say in its names.

    Args:
        code: the kind of error.
        field: the neutral name of the parameter at fault; of one in a list, ``loras.0.scale``.
        sentence: writes the message, given the names that the client knows.
    """

    def __init__(self, code: ErrorCode, field: str, sentence: Callable[[Names], str]) -> None:
        super().__init__(code, sentence(str), field=field)
        self.sentence = sentence


def of_picture(fault: PictureFault) -> ParameterError:
    """A picture's fault as the parameter's, which a decoding job calls by its neutral name."""
    return ParameterError(fault.code, fault.field or "", lambda name: filled(fault.template, name))


@contextmanager
def fields_named(names: Mapping[str, str]) -> Iterator[None]:
    """Raise every ``RequestError`` of the block with the client's names for its fields.

    Args:
        names: the client's name of each parameter that it does not call by the neutral one; a
            name stands for what is in it too (``loras`` for ``loras.0.name``).
    """

    def client_name(field: str) -> str:
        if field in names:
            return names[field]
        whole, dot, rest = field.partition(".")
        return names.get(whole, whole) + dot + rest

    try:
        yield
    except RequestError as error:
        if error.field is None:
            raise
        message = error.message
        if isinstance(error, ParameterError):
            message = error.sentence(client_name)
        raise RequestError(
            error.code, message, field=client_name(error.field), retry_after=error.retry_after
        ) from error
