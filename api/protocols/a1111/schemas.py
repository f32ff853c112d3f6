"""Request bodies of the web UI's API. Ranges are in ``api.limits``.

As there, a field that is null has its default, numbers may come as text, and fields that nobody
knows are taken; ``api.protocols.a1111.leftovers`` says of them that they had no effect.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, Field

from api.bodies import Body

# Longer lists are not looked at.
_MOST: Final = 64
Names = Annotated[list[str], Field(max_length=_MOST, fail_fast=True)]
Pictures = Annotated[list[str], Field(max_length=_MOST, fail_fast=True)]
Settings = dict[str, Any]

DENOISING_STRENGTH: Final = 0.75


class WebUIBody(Body):
    """A JSON object; fields that it does not know have no effect."""

    model_config = ConfigDict(extra="allow", strict=False)

    @property
    def unknown(self) -> list[str]:
        """The names of the fields that it does not know."""
        return list(self.model_extra or ())


class Generation(WebUIBody):
    """What both kinds of pictures have in common."""

    prompt: str | None = Field(
        None,
        description="What to generate: `(a)`, `[a]` and `(a:1.3)` weigh words, `<lora:name:0.8>` "
        "adds a LoRA",
        examples=["a (red:1.2) apple on a blue background"],
    )
    negative_prompt: str | None = Field(None, description="What to avoid", examples=["blurry"])
    styles: Names | None = Field(None, description="There are none", examples=[[]])
    seed: int | None = Field(
        None, description="-1 or none: a random one, returned in `info`", examples=[42]
    )
    sampler_name: str | None = Field(
        None,
        description="One of those that `GET /sdapi/v1/samplers` lists; default: the model's",
        examples=["Euler a"],
    )
    sampler_index: str | None = Field(
        None, description="The same; `sampler_name` goes first", examples=["Euler a"]
    )
    scheduler: str | None = Field(
        None,
        description="The schedule of the noise, one of those that `GET /sdapi/v1/schedulers` lists",
        examples=["automatic"],
    )
    batch_size: int | None = Field(None, description="Pictures in a batch", examples=[1])
    n_iter: int | None = Field(
        None,
        description="Batches; the pictures of all of them are made together",
        examples=[1],
    )
    steps: int | None = Field(None, description="Denoising steps", examples=[20])
    cfg_scale: float | None = Field(
        None, description="Weight of classifier-free guidance", examples=[7.0]
    )
    width: int | None = Field(None, description="Pixels, a multiple of what the model asks for")
    height: int | None = Field(None, description="Pixels, a multiple of what the model asks for")
    denoising_strength: float | None = Field(
        None,
        description="Share of the steps that is run on a picture that is there; default "
        f"{DENOISING_STRENGTH}",
        examples=[0.6],
    )
    refiner_checkpoint: str | None = Field(
        None, description="A model that finishes the picture, of models that have a refiner"
    )
    refiner_switch_at: float | None = Field(
        None, description="Share of the steps after which it takes over"
    )
    override_settings: Settings | None = Field(
        None,
        description="`sd_model_checkpoint` and `samples_format` for this request alone",
        examples=[{}],
    )
    send_images: bool | None = Field(
        None, description="Whether the response has the pictures", examples=[True]
    )
    disable_extra_networks: bool | None = Field(
        None, description="Whether the LoRAs in the prompt are left out", examples=[False]
    )
    force_task_id: str | None = Field(
        None, max_length=256, description="The name of the job in `progress`", examples=["mine"]
    )
    script_name: str | None = Field(None, description="There are no scripts")
    alwayson_scripts: Settings | None = Field(
        None, description="There are no scripts; those that are switched off may be named"
    )
    infotext: str | None = Field(None, description="Not taken: send the fields themselves")

    # Without effect, unless they are what they are here anyway.
    restore_faces: bool | None = Field(None, description="Without effect")
    tiling: bool | None = Field(None, description="Without effect")
    clip_skip: int | None = Field(None, description="Without effect")
    subseed: int | None = Field(None, description="Without effect")
    subseed_strength: float | None = Field(None, description="Without effect")
    seed_resize_from_h: int | None = Field(None, description="Without effect")
    seed_resize_from_w: int | None = Field(None, description="Without effect")
    eta: float | None = Field(None, description="Without effect")
    s_min_uncond: float | None = Field(None, description="Without effect")
    s_churn: float | None = Field(None, description="Without effect")
    s_tmin: float | None = Field(None, description="Without effect")
    s_tmax: float | None = Field(None, description="Without effect")
    s_noise: float | None = Field(None, description="Without effect")
    override_settings_restore_afterwards: bool | None = Field(
        None, description="Settings of a request are never kept"
    )
    script_args: list[Any] | None = Field(None, description="There are no scripts")
    save_images: bool | None = Field(None, description="Nothing is kept on the server")
    do_not_save_samples: bool | None = Field(None, description="Nothing is kept on the server")
    do_not_save_grid: bool | None = Field(None, description="There are no grids")

    @property
    def batch(self) -> int:
        """Pictures in a batch."""
        return 1 if self.batch_size is None else self.batch_size

    @property
    def batches(self) -> int:
        """The number of batches."""
        return 1 if self.n_iter is None else self.n_iter


class WebUITxt2Img(Generation):
    """A picture from a text. Absent and null both mean the default."""

    example: ClassVar[dict[str, Any]] = {
        "prompt": "a (red:1.2) apple on a blue background",
        "negative_prompt": "blurry",
        "sampler_name": "DPM++ 2M",
        "scheduler": "karras",
        "steps": 20,
        "cfg_scale": 4.0,
        "seed": 42,
    }

    enable_hr: bool | None = Field(
        None,
        description="Whether the picture is enlarged, and denoised again in that size",
        examples=[False],
    )
    hr_scale: float | None = Field(None, description="How much larger; default 2", examples=[2.0])
    hr_resize_x: int | None = Field(None, description="Its width, in place of `hr_scale`")
    hr_resize_y: int | None = Field(None, description="Its height, in place of `hr_scale`")
    hr_upscaler: str | None = Field(
        None, description="`Lanczos` is what there is", examples=["Lanczos"]
    )
    hr_second_pass_steps: int | None = Field(
        None, description="Steps that are run then; 0 or none: `steps` x `denoising_strength`"
    )
    hr_checkpoint_name: str | None = Field(None, description="The model then; default: the same")
    hr_sampler_name: str | None = Field(None, description="The sampler then; default: the same")
    hr_scheduler: str | None = Field(None, description="The schedule then; default: the same")
    hr_prompt: str | None = Field(None, description="The prompt then; default: the same")
    hr_negative_prompt: str | None = Field(
        None, description="The negative prompt then; default: the same"
    )
    firstphase_width: int | None = Field(None, description="Without effect")
    firstphase_height: int | None = Field(None, description="Without effect")


class WebUIImg2Img(Generation):
    """A picture from a text and a picture. Absent and null both mean the default."""

    example: ClassVar[dict[str, Any]] = {
        **WebUITxt2Img.example,
        "init_images": ["iVBORw0KGgo="],
        "denoising_strength": 0.6,
    }

    init_images: Pictures | None = Field(
        None,
        description="One PNG, JPEG or WebP in base64, which may be a `data:` URL",
        examples=[["iVBORw0KGgo="]],
    )
    resize_mode: int | None = Field(
        None,
        description="What happens to its aspect ratio: 0, it is distorted; 1, its middle is cut "
        "out; 2, its edges are drawn out to the sides",
        examples=[0],
    )
    mask: str | None = Field(
        None, description="A picture of the same size: white is inpainted, black is kept"
    )
    inpainting_mask_invert: int | None = Field(
        None, description="1: black is inpainted, white is kept", examples=[0]
    )
    mask_blur: float | None = Field(None, description="Without effect: its edge is hard")
    mask_blur_x: float | None = Field(None, description="Without effect: its edge is hard")
    mask_blur_y: float | None = Field(None, description="Without effect: its edge is hard")
    mask_round: bool | None = Field(None, description="Its edge is hard")
    inpainting_fill: int | None = Field(
        None, description="Without effect: noise is added to what is under the mask, as with 1"
    )
    inpaint_full_res: bool | None = Field(
        None, description="Without effect: the whole picture is denoised"
    )
    inpaint_full_res_padding: int | None = Field(None, description="Without effect")
    initial_noise_multiplier: float | None = Field(None, description="Without effect")
    image_cfg_scale: float | None = Field(
        None, description="Of instruct-pix2pix, of which there is no model"
    )
    include_init_images: bool | None = Field(
        None, description="Without effect: `parameters` has no pictures"
    )


class WebUIOptions(WebUIBody):
    """Options to change, for this client alone."""

    example: ClassVar[dict[str, Any]] = {"samples_format": "png"}

    sd_model_checkpoint: str | None = Field(
        None,
        description="The model of its requests: a `title` of `GET /sdapi/v1/sd-models`; null for "
        "the default",
    )
    samples_format: str | None = Field(None, description="`png`, `jpg` or `webp`", examples=["png"])
    send_seed: bool | None = Field(
        None, description="Kept for the client; of no meaning here", examples=[True]
    )
    send_size: bool | None = Field(
        None, description="Kept for the client; of no meaning here", examples=[True]
    )


class PNGInfoRequest(WebUIBody):
    """A picture whose parameters are wanted."""

    example: ClassVar[dict[str, Any]] = {"image": "iVBORw0KGgo="}

    image: str = Field(description="A PNG, JPEG or WebP in base64, which may be a `data:` URL")


class InterrogateRequest(WebUIBody):
    """A picture to describe."""

    example: ClassVar[dict[str, Any]] = {"image": "iVBORw0KGgo=", "model": "clip"}

    image: str = Field(description="A PNG, JPEG or WebP in base64, which may be a `data:` URL")
    model: str | None = Field(
        None, description="`clip` or `deepdanbooru`, which are both our classifier"
    )
