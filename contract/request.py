"""One request for pictures, valid by construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OutputFormat(StrEnum):
    """File formats a picture can be returned in."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"


@dataclass(frozen=True, slots=True)
class LoraUse:
    """A LoRA, and how much of it.

    Attributes:
        tag: ``name:version`` in the model store.
        scale: factor of what it adds to the base's layers; 1 is as it was trained.
    """

    tag: str
    scale: float = 1.0

    @property
    def name(self) -> str:
        """The name by which clients know it."""
        return self.tag.partition(":")[0]

    def __str__(self) -> str:
        """``clay:0.8``: name and scale, from which the same picture can be made again."""
        return f"{self.name}:{repr(float(self.scale)).removesuffix('.0')}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the noise schedule, and the model that denoises it.

    Attributes:
        model: catalog name of a served model.
        start: fraction of the schedule at which it begins, 0 to 1.
        end: fraction at which it ends, above ``start``, at most 1.
    """

    model: str
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """Everything its pictures depend on. Its ranges were checked when it was built.

    Attributes:
        request_id: name of the request in logs and responses.
        model: catalog name of a served model.
        prompt: what the picture shows, at most 2,000 characters.
        prompts: where the pictures' prompts differ: one for each, the first of them ``prompt``.
        prompt_2: of models with two text encoders: what the second one is told; None for the same.
        prompt_3: likewise, of those with three.
        negative_prompt: what to avoid; None for nothing: some models tell that from an empty text.
        negative_prompt_2: like ``prompt_2``; None where ``negative_prompt`` is.
        negative_prompt_3: likewise.
        width: pixels, a multiple of the model's ``multiple_of``.
        height: pixels, likewise.
        num_inference_steps: length of the full noise schedule, >= 1.
        guidance_scale: classifier-free guidance weight w of Ho & Salimans (2022),
            https://arxiv.org/abs/2207.12598; at 1 or below the negative prompt has no effect.
        guidance_start: fraction of the noise schedule at which guidance begins, 0 to 1; likewise
            ``guidance_end``, above it, at which it ends. Outside of this interval the job has one
            row in a pass instead of two (Kynkäänniemi et al. 2024,
            https://arxiv.org/abs/2404.07724).
        guidance_rescale: share, 0 to 1, of the contrast that guidance adds and that is taken back.
        skip_layers: of transformers, for pictures from text alone: the numbers, from 0, of the
            blocks that skip-layer guidance leaves out; empty for none. Where guidance is, the job
            has a third row.
        skip_layer_scale: its weight.
        skip_layer_start: fraction of the steps after which it begins, 0 to 1; likewise
            ``skip_layer_end`` at which it ends.
        original_size: of models that take it: height and width, in pixels, of the picture that this
            one is said to be made from; None for its own.
        crop: likewise: the top and left edge, in pixels, of what is said to be cut out of it.
        aesthetic_score: of refiners: 0 to 10, how well rated the picture is said to be; likewise
            ``negative_aesthetic_score`` the one to avoid.
        scheduler: short name out of ``models.architectures.SCHEDULERS``.
        seed: 0 to 2**53 - 1 (so that it survives a JSON number); always resolved.
            Picture ``i`` of ``num_images`` is the one that ``seed + i`` gives alone.
        num_images: how many pictures, >= 1; ``seed + num_images - 1`` is a valid seed too.
        init_image: img2img and inpainting: raw RGB bytes, ``height * width * 3``, row by row.
        mask: inpainting only: raw bytes, ``height * width``; what is 128 or more is inpainted.
        strength: with an init image: share of the schedule that is run, 0 < strength <= 1 and
            ``int(num_inference_steps * strength) >= 1``.
        loras: applied to the model together; their tags differ, their order does not matter.
        segments: the parts of the schedule in their order, the first with ``model``; empty for the
            whole of it with ``model``. LoRAs apply to the segments with ``model``.
        tenant: on whose behalf; tenants share the engine fairly. Empty where that is not known.
        tenant_weight: its share of the engine's time, > 0, against tenants with 1.
        tenant_places: how many pictures it may have waiting or being made, at most what each may
            have; None for that.
        alias: name of the LoRA-based fine-tuned model that was asked for, where that is not
            ``model``; ``loras`` has its LoRA.
        output_format: file format of the pictures.
        output_quality: of JPEG and WebP: 0 for the smallest file to 100; None for a good picture.
        deadline: seconds from submission until the request is abandoned.
        wants_progress: whether progress events are of use to the client.
        wants_previews: whether progress events shall carry a preview; implies progress events.
    """

    request_id: str
    model: str
    prompt: str
    prompts: tuple[str, ...] = ()
    prompt_2: str | None = None
    prompt_3: str | None = None
    negative_prompt: str | None = None
    negative_prompt_2: str | None = None
    negative_prompt_3: str | None = None
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    guidance_rescale: float = 0.0
    skip_layers: tuple[int, ...] = ()
    skip_layer_scale: float = 2.8
    skip_layer_start: float = 0.01
    skip_layer_end: float = 0.2
    original_size: tuple[int, int] | None = None
    crop: tuple[int, int] = (0, 0)
    aesthetic_score: float = 6.0
    negative_aesthetic_score: float = 2.5
    scheduler: str
    seed: int
    num_images: int = 1
    init_image: bytes | None = None
    mask: bytes | None = None
    strength: float | None = None
    loras: tuple[LoraUse, ...] = ()
    segments: tuple[Segment, ...] = ()
    tenant: str = ""
    tenant_weight: float = 1.0
    tenant_places: int | None = None
    alias: str | None = None
    output_format: OutputFormat = OutputFormat.PNG
    output_quality: int | None = None
    deadline: float = 300.0
    wants_progress: bool = False
    wants_previews: bool = False

    def loras_of(self, segment: Segment) -> tuple[LoraUse, ...]:
        """The LoRAs that apply to a segment."""
        return self.loras if segment.model == self.model else ()

    @property
    def served_as(self) -> str:
        """The model's name as the client sees it."""
        return self.alias or self.model

    @property
    def further_loras(self) -> tuple[LoraUse, ...]:
        """Those beside the fine-tuned model's own."""
        return tuple(use for use in self.loras if use.name != self.alias)
