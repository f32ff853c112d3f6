"""The table of architectures: all that is known of a model before its files are looked at.

Nothing heavy is imported, so that every process can read it. Classes of diffusers stand here by
name; ``models.loading`` looks them up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

Family: TypeAlias = Literal["sd1", "sd2", "sdxl", "sd3"]
Prediction: TypeAlias = Literal["diffusion", "flow"]
TextEncoder: TypeAlias = Literal["clip_l", "clip_g", "t5"]
SchedulerName: TypeAlias = Literal[
    "ddim",
    "euler",
    "euler_trailing",
    "euler_a",
    "dpmpp_2m",
    "dpmpp_2m_karras",
    "unipc",
    "pndm",
    "lcm",
    "heun",
]
# The optional fields of a request that not every model takes.
RequestField: TypeAlias = Literal[
    "prompt_2",
    "negative_prompt_2",
    "prompt_3",
    "negative_prompt_3",
    "guidance_rescale",
    "skip_layers",
    "skip_layer_scale",
    "skip_layer_start",
    "skip_layer_end",
    "original_size",
    "crop",
    "aesthetic_score",
    "negative_aesthetic_score",
    "refiner",
]

# Those of them about skip-layer guidance.
SKIP_FIELDS: Final[tuple[RequestField, ...]] = (
    "skip_layers",
    "skip_layer_scale",
    "skip_layer_start",
    "skip_layer_end",
)
SCHEDULERS: Final[tuple[SchedulerName, ...]] = get_args(SchedulerName)
# diffusers' LCMScheduler picks its steps from the 50 of the distillation.
SCHEDULER_MAX_STEPS: Final[Mapping[str, int]] = MappingProxyType({"lcm": 50})
# Those that two models can divide among themselves. Heun does the step at the switch twice, and
# PNDM begins to count again.
ENSEMBLE_SCHEDULERS: Final[tuple[SchedulerName, ...]] = tuple(
    name for name in SCHEDULERS if name not in ("heun", "pndm")
)
# The same name is another class for each: diffusers has flow-matching forms of Euler and Heun.
_SCHEDULERS_OF: Final[Mapping[Prediction, tuple[SchedulerName, ...]]] = MappingProxyType(
    {"diffusion": SCHEDULERS, "flow": ("euler", "heun")}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The facts that all models of a family have in common.

    Attributes:
        name: the family, as catalogs spell it.
        pipelines: the diffusers classes for txt2img, img2img and inpaint. They are made of the
            same components, so a folder may name any of them.
        refiner: whether a model without txt2img is a refiner, which has the img2img class: it is
            conditioned on an aesthetic score, which the class for txt2img does not know.
        prediction: what the denoiser predicts: the noise of a diffusion process (or its velocity),
            or the direction of a flow.
        vae_scale: pixels, along one side, for each latent.
        patch: latents, along one side, that the denoiser takes for one token.
        latent_channels: of the VAE.
        upcasts_vae: whether its VAE stays in fp32 in every precision where its config says
            ``force_upcast``, as it overflows in fp16.
        text_encoders: where there is a choice: the components of each, by the names that catalogs
            and settings have for them.
        required_text_encoders: those that a model cannot do without.
        lora_components: the components that LoRAs may change, as diffusers names them.
        request_fields: the optional fields of requests for its models; and ``refiner_fields`` of
            those for its refiners.
        text_layer: regular expression for the end of the name of a layer that takes text as wide
            as the text encoders give it, in the naming of diffusers or of kohya's scripts.
    """

    name: Family
    pipelines: tuple[str, str, str]
    refiner: bool = False
    prediction: Prediction = "diffusion"
    vae_scale: int = 8
    patch: int = 1
    latent_channels: int = 4
    upcasts_vae: bool = False
    text_encoders: Mapping[TextEncoder, frozenset[str]] = field(default_factory=dict)
    required_text_encoders: frozenset[TextEncoder] = frozenset()
    lora_components: frozenset[str]
    request_fields: frozenset[RequestField] = frozenset()
    refiner_fields: frozenset[RequestField] = frozenset()
    text_layer: str

    @property
    def multiple_of(self) -> int:
        """Pixels that width and height must divide by."""
        return self.vae_scale * self.patch

    @property
    def schedulers(self) -> tuple[SchedulerName, ...]:
        """The names that requests for these models may have in ``scheduler``."""
        return schedulers_of(self.prediction)

    def pipeline(self, tasks: Collection[str]) -> str:
        """The diffusers class that loads a model with these tasks."""
        txt2img, img2img, _ = self.pipelines
        return img2img if self.refiner and "txt2img" not in tasks else txt2img

    def is_refiner(self, tasks: Collection[str]) -> bool:
        """Whether a model with these tasks is a refiner, and not an inpainter."""
        return self.refiner and "txt2img" not in tasks and "img2img" in tasks

    def fields(self, tasks: Collection[str]) -> frozenset[RequestField]:
        """The optional fields of requests for a model with these tasks."""
        if self.is_refiner(tasks):
            return self.refiner_fields
        if "txt2img" in tasks:
            return self.request_fields
        # A denoiser that sees the mask can hand over to none that does not.
        return self.request_fields - {"refiner", *SKIP_FIELDS}

    def skipped_components(self, text_encoders: Collection[str]) -> frozenset[str]:
        """The components that are not loaded where there are these text encoders alone.

        Raises:
            ValueError: says what is wrong with that.
        """
        if not self.text_encoders:
            raise ValueError(f"text_encoders: a model of the family {self.name} has no choice")
        if missing := self.required_text_encoders.difference(text_encoders):
            raise ValueError(
                f"text_encoders must name {' and '.join(sorted(self.required_text_encoders))} for "
                f"a model of the family {self.name}, and lacks {min(missing)}"
            )
        left_out = self.text_encoders.keys() - set(text_encoders)
        return frozenset[str]().union(*(self.text_encoders[name] for name in left_out))


def schedulers_of(prediction: Prediction) -> tuple[SchedulerName, ...]:
    """The short names that there are for models of a kind of prediction."""
    return _SCHEDULERS_OF[prediction]


def _of(prefix: str) -> tuple[str, str, str]:
    return (f"{prefix}Pipeline", f"{prefix}Img2ImgPipeline", f"{prefix}InpaintPipeline")


_UNET_TEXT_LAYER = r"attn2[._](?:processor\.)?to_k"

ARCHITECTURES: Final[Mapping[Family, Architecture]] = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in (
            Architecture(
                name="sd1",
                request_fields=frozenset({"guidance_rescale"}),
                pipelines=_of("StableDiffusion"),
                lora_components=frozenset({"unet", "text_encoder"}),
                text_layer=_UNET_TEXT_LAYER,
            ),
            Architecture(
                name="sd2",
                request_fields=frozenset({"guidance_rescale"}),
                pipelines=_of("StableDiffusion"),
                lora_components=frozenset({"unet", "text_encoder"}),
                text_layer=_UNET_TEXT_LAYER,
            ),
            Architecture(
                name="sdxl",
                pipelines=_of("StableDiffusionXL"),
                refiner=True,
                upcasts_vae=True,
                request_fields=frozenset(
                    {
                        "prompt_2",
                        "negative_prompt_2",
                        "guidance_rescale",
                        "original_size",
                        "crop",
                        "refiner",
                    }
                ),
                refiner_fields=frozenset(
                    {
                        "guidance_rescale",
                        "original_size",
                        "crop",
                        "aesthetic_score",
                        "negative_aesthetic_score",
                    }
                ),
                lora_components=frozenset({"unet", "text_encoder", "text_encoder_2"}),
                text_layer=_UNET_TEXT_LAYER,
            ),
            Architecture(
                name="sd3",
                pipelines=_of("StableDiffusion3"),
                prediction="flow",
                patch=2,
                latent_channels=16,
                text_encoders=MappingProxyType(
                    {
                        "clip_l": frozenset({"text_encoder", "tokenizer"}),
                        "clip_g": frozenset({"text_encoder_2", "tokenizer_2"}),
                        "t5": frozenset({"text_encoder_3", "tokenizer_3"}),
                    }
                ),
                required_text_encoders=frozenset({"clip_l", "clip_g"}),
                request_fields=frozenset(
                    {
                        "prompt_2",
                        "negative_prompt_2",
                        "prompt_3",
                        "negative_prompt_3",
                        "guidance_rescale",
                        *SKIP_FIELDS,
                    }
                ),
                lora_components=frozenset({"transformer", "text_encoder", "text_encoder_2"}),
                # Its attention takes the text after this layer, in the transformer's own width.
                text_layer="context_embedder",
            ),
        )
    }
)
