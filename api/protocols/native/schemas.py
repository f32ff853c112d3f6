"""Request bodies and URL parameters of the native protocol. Ranges are in ``api.limits``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from api.bodies import Body, Query
from api.parameters import GenerationParameters
from api.protocols.native.nested import LoraBody, RefinerBody
from models.catalog import Task
from models.finetuned import AUTO

# How many there are is checked elsewhere; of many that are wrong, the first one counts.
_Integers = Annotated[list[int], Field(fail_fast=True)]


class Txt2ImgBody(Body):
    """A picture from a text. Absent and null both mean the default."""

    task: ClassVar[Task] = "txt2img"
    example: ClassVar[dict[str, Any]] = {
        "prompt": "a red apple on a blue background",
        "num_inference_steps": 20,
        "scheduler": "dpmpp_2m",
        "seed": 42,
    }

    prompt: str = Field(
        description="What to generate; `(words:1.3)` gives words a weight, 0 to 2",
        examples=["a red apple on a blue background"],
    )
    prompt_2: str | None = Field(
        None,
        description="What a second text encoder is given, of models that have one; default: "
        "`prompt`",
        examples=["oil painting"],
    )
    prompt_3: str | None = Field(
        None,
        description="Likewise a third one (T5, of Stable Diffusion 3)",
        examples=["An oil painting of a red apple that lies on a blue cloth."],
    )
    negative_prompt: str | None = Field(
        None,
        description="What to avoid. Models that were trained so tell null from an empty text",
        examples=["blurry"],
    )
    negative_prompt_2: str | None = Field(
        None,
        description="Like `prompt_2`; only beside `negative_prompt`",
        examples=["photograph"],
    )
    negative_prompt_3: str | None = Field(
        None, description="Like `prompt_3`; only beside `negative_prompt`", examples=["photograph"]
    )
    expand_prompt: bool | None = Field(
        None,
        description="Whether `prompt` is a template: `a {red|green} apple`, `{2$$a|b|c}`, "
        "`__wildcard__`. The choices follow from the seed, those of the picture with index i from "
        "`seed` + i",
        examples=[False],
    )
    width: int | None = Field(None, description="Pixels, a multiple of the model's `multiple_of`")
    height: int | None = Field(None, description="Pixels, a multiple of the model's `multiple_of`")
    num_inference_steps: int | None = Field(
        None, description="Denoising steps; at most 50 with the `lcm` scheduler", examples=[20]
    )
    guidance_scale: float | None = Field(
        None,
        description="Weight of classifier-free guidance; at 1 or below `negative_prompt` is unused",
        examples=[4.0],
    )
    guidance_start: float | None = Field(
        None,
        description="Fraction of the noise schedule at which guidance begins; below "
        "`guidance_end`. Steps outside of this interval have no guidance, and take half the work",
        examples=[0.0],
    )
    guidance_end: float | None = Field(
        None,
        description="Fraction of the noise schedule at which guidance ends",
        examples=[1.0],
    )
    guidance_rescale: float | None = Field(
        None,
        description="Share of the contrast that guidance adds and that is taken back",
        examples=[0.0],
    )
    skip_layers: _Integers | None = Field(
        None,
        description="Of models that take it (Stable Diffusion 3): the numbers, from 0, of the "
        "transformer's blocks that skip-layer guidance leaves out; none for no such guidance. "
        "Pictures from text alone have it, in steps with guidance",
        examples=[[7, 8, 9]],
    )
    skip_layer_scale: float | None = Field(
        None, description="Weight of skip-layer guidance", examples=[2.8]
    )
    skip_layer_start: float | None = Field(
        None,
        description="Fraction of the steps after which skip-layer guidance begins; below "
        "`skip_layer_end`",
        examples=[0.01],
    )
    skip_layer_end: float | None = Field(
        None,
        description="Fraction of the steps at which skip-layer guidance ends",
        examples=[0.2],
    )
    original_size: _Integers | None = Field(
        None,
        description="Of models that take it (SDXL): height and width, in pixels, of the picture "
        "that this one is said to be made from; default: its own. Small ones look blurred",
        examples=[[1024, 1024]],
    )
    crop: _Integers | None = Field(
        None,
        description="Likewise: the top and left edge, in pixels, of what is said to be cut out of "
        "it",
        examples=[[0, 0]],
    )
    aesthetic_score: float | None = Field(
        None,
        description="Of refiners as the model: how well rated the picture is said to be; default 6",
        examples=[6.0],
    )
    negative_aesthetic_score: float | None = Field(
        None, description="Likewise, the rating to avoid; default 2.5", examples=[2.5]
    )
    refiner: RefinerBody | None = Field(
        None,
        description="Have another model finish the picture, of models that have a refiner",
        examples=[{"switch_at": 0.8}],
    )
    scheduler: str | None = Field(None, description="Sampler", examples=["dpmpp_2m"])
    seed: int | None = Field(
        None,
        description="The same request with the same seed gives the same picture; "
        "-1 or none: a random one, returned in `X-Seed`",
        examples=[42],
    )
    num_images: int | None = Field(
        None,
        description="Pictures; the one with index i is what `seed` + i gives alone. More than "
        "one come as JSON",
        examples=[1],
    )
    model: str | None = Field(
        None,
        description="One of the models that `GET /models` lists at this moment; `auto`: the "
        "fine-tuned one whose `subject_token` is in the prompt, else the default",
    )
    loras: list[LoraBody] | None = Field(
        None,
        description="LoRAs to apply together; each may be there once",
        examples=[[]],
    )
    output_format: str | None = Field(None, description="File format", examples=["png"])
    previews: bool | None = Field(
        None,
        description="Whether progress events carry a small PNG of the unfinished picture; only "
        "with `Accept: text/event-stream`",
        examples=[False],
    )

    def parameters(self) -> GenerationParameters:
        """The same in neutral names."""
        return GenerationParameters(
            task=self.task,
            prompt=self.prompt,
            prompt_2=self.prompt_2,
            prompt_3=self.prompt_3,
            negative_prompt=self.negative_prompt,
            negative_prompt_2=self.negative_prompt_2,
            negative_prompt_3=self.negative_prompt_3,
            expand_prompt=bool(self.expand_prompt),
            width=self.width,
            height=self.height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            guidance_start=self.guidance_start,
            guidance_end=self.guidance_end,
            guidance_rescale=self.guidance_rescale,
            skip_layers=None if self.skip_layers is None else tuple(self.skip_layers),
            skip_layer_scale=self.skip_layer_scale,
            skip_layer_start=self.skip_layer_start,
            skip_layer_end=self.skip_layer_end,
            original_size=None if self.original_size is None else tuple(self.original_size),
            crop=None if self.crop is None else tuple(self.crop),
            aesthetic_score=self.aesthetic_score,
            negative_aesthetic_score=self.negative_aesthetic_score,
            refiner=None if self.refiner is None else self.refiner.parameter(),
            scheduler=self.scheduler,
            seed=self.seed,
            num_images=self.num_images,
            model=self.model,
            loras=tuple(lora.parameter() for lora in self.loras or ()),
            output_format=self.output_format,
            previews=bool(self.previews),
        )

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        return {
            **super().known_fields(),
            "loras": list(LoraBody.model_fields),
            "refiner": list(RefinerBody.model_fields),
        }


class ClassifyQuery(Query):
    """The parameters of a classification."""

    top_k: int | None = Field(
        None, description="Number of labels, the likeliest first", examples=[5]
    )


class DreamboothQuery(Query):
    """A picture of a subject, with its parameters in the URL."""

    prompt: str = Field(
        description="What to generate; the `subject_token` of a fine-tuned model in it chooses "
        "that model",
        examples=["a red apple on a blue background"],
    )
    img_size: int | None = Field(
        None,
        description="Width and height in pixels, a multiple of the model's `multiple_of`; "
        "default: the model's own size",
        examples=[64],
    )

    def parameters(self) -> GenerationParameters:
        """The same in neutral names."""
        return GenerationParameters(
            task="txt2img",
            prompt=self.prompt,
            width=self.img_size,
            height=self.img_size,
            model=AUTO,
        )


class Img2ImgBody(Txt2ImgBody):
    """A picture from a text and a picture. Absent and null both mean the default."""

    task: ClassVar[Task] = "img2img"
    example: ClassVar[dict[str, Any]] = {**Txt2ImgBody.example, "strength": 0.6}

    width: int | None = Field(
        None,
        description="Pixels, a multiple of the model's `multiple_of`; default: the input "
        "picture's aspect ratio at about the model's native area",
    )
    height: int | None = Field(None, description="As `width`; one alone keeps the aspect ratio")
    strength: float | None = Field(
        None,
        description="Share of the steps that is run: 1 ignores the input picture; "
        "num_inference_steps x strength must be at least 1",
        examples=[0.6],
    )

    def parameters(self) -> GenerationParameters:
        return replace(super().parameters(), strength=self.strength)


class InpaintBody(Img2ImgBody):
    """A picture with a part inpainted. Absent and null both mean the default."""

    task = "inpaint"
    example = Txt2ImgBody.example

    strength: float | None = Field(
        None,
        description="Share of the steps that is run: 1 ignores what was under the mask; "
        "num_inference_steps x strength must be at least 1",
        examples=[1.0],
    )
