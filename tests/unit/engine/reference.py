"""What diffusers itself makes of a request, to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import (
    StableDiffusionInpaintPipeline,
)
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3_img2img import (
    StableDiffusion3Img2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3_inpaint import (
    StableDiffusion3InpaintPipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)

from contract.request import GenerationRequest, Segment
from engine.denoising.samplers import FLOW_SAMPLERS, SAMPLERS
from engine.denoising.state import DenoisingState
from engine.lora.adapter import Adapter
from engine.pipelines.base import NO_ADAPTERS, DiffusionModel, SegmentRequest
from engine.pipelines.latent_diffusion import LatentDiffusion
from tests.conftest import make_request

# Two thirds are inpainted; the edge does not fall on a latent pixel.
MASK = np.where(np.arange(64)[:, None] + np.arange(64) > 51, 255, 0).astype(np.uint8).tobytes()


def in_channels_last(pipeline: Any) -> Any:
    """The layout that the model chooses: the kernels of another one round otherwise, by 1e-5."""
    if "unet" in pipeline.components:
        pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    return pipeline


def request_for(scheduler: str, task: str, photo: bytes, **changes: Any) -> GenerationRequest:
    if task != "txt2img":
        changes = {"init_image": photo, "strength": 0.75, **changes}
    if task == "inpaint":
        changes["mask"] = MASK
    # Enough for every solver to use its history.
    changes = {"num_inference_steps": 5, "negative_prompt": "a cat", **changes}
    return make_request(scheduler=scheduler, **changes)


def stock(pipeline: Any, request: GenerationRequest, output_type: str, **more: Any) -> Any:
    """What diffusers itself makes of the request, alone; ``more`` goes to the pipeline's call."""
    flow = "transformer" in pipeline.components
    samplers = FLOW_SAMPLERS if flow else SAMPLERS
    scheduler = samplers[request.scheduler].create(pipeline.scheduler.config)
    size = (request.width, request.height)
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(request.seed),
        "output_type": output_type,
    }
    xl = not flow and "text_encoder_2" in pipeline.components
    kinds: tuple[Any, Any, Any] = _XL_KINDS if xl else _SD3_KINDS if flow else _KINDS
    kind = kinds[0]
    if request.init_image is None:
        arguments |= {"width": request.width, "height": request.height}
    else:
        kind = kinds[1]
        image = PIL.Image.frombytes("RGB", size, request.init_image)
        arguments |= {"image": image, "strength": request.strength}
    if request.mask is not None:
        kind = kinds[2]
        arguments |= {
            "mask_image": PIL.Image.frombytes("L", size, request.mask),
            "width": request.width,
            "height": request.height,
        }
    if "image" in more:
        kind = kinds[1]
        arguments = {name: arguments[name] for name in arguments if name not in ("width", "height")}
    options: dict[str, Any] = {} if flow else {"requires_safety_checker": False}
    if flow:
        arguments |= _sd3_arguments(request)
    if xl:
        arguments |= _xl_arguments(request)
        options = {
            "add_watermarker": False,
            "force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt,
        }
        if kind is not kinds[0]:
            scored = getattr(pipeline.config, "requires_aesthetics_score", False)
            options["requires_aesthetics_score"] = scored
            arguments["aesthetic_score"] = request.aesthetic_score
            arguments["negative_aesthetic_score"] = request.negative_aesthetic_score
    # The stock pipeline for inpainting forgets the shift when it decodes.
    shifted = flow and request.mask is not None and output_type == "pil"
    latents = {"output_type": "latent"} if shifted else {}
    pipe = kind(**{**pipeline.components, "scheduler": scheduler}, **options)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(**{**arguments, **more, **latents}).images
    return _decoded(pipe, images) if latents else images


_KINDS = (
    StableDiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
)
_SD3_KINDS = (
    StableDiffusion3Pipeline,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
)
_XL_KINDS = (
    StableDiffusionXLPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)


def _sd3_arguments(request: GenerationRequest) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "prompt_2": request.prompt_2,
        "prompt_3": request.prompt_3,
        "negative_prompt_2": request.negative_prompt_2,
        "negative_prompt_3": request.negative_prompt_3,
    }
    if request.init_image is not None:
        return {**arguments, "width": request.width, "height": request.height}
    return {
        **arguments,
        "skip_guidance_layers": list(request.skip_layers) or None,
        "skip_layer_guidance_scale": request.skip_layer_scale,
        "skip_layer_guidance_start": request.skip_layer_start,
        "skip_layer_guidance_stop": request.skip_layer_end,
    }


def _decoded(pipeline: Any, latents: torch.Tensor) -> Any:
    config = pipeline.vae.config
    with torch.inference_mode():
        pixels = pipeline.vae.decode(
            latents / config.scaling_factor + config.shift_factor, return_dict=False
        )[0]
    return pipeline.image_processor.postprocess(pixels, output_type="pil")


def _xl_arguments(request: GenerationRequest) -> dict[str, Any]:
    return {
        "prompt_2": request.prompt_2,
        "negative_prompt_2": request.negative_prompt_2,
        "guidance_rescale": request.guidance_rescale,
        "original_size": request.original_size,
        "crops_coords_top_left": request.crop,
    }


def prepare(
    model: DiffusionModel,
    requests: Sequence[GenerationRequest],
    adapters: Mapping[str, Adapter] = NO_ADAPTERS,
) -> list[DenoisingState]:
    """Prepare requests of one segment each."""
    return model.prepare(
        [SegmentRequest(request, Segment(request.model)) for request in requests], adapters
    )


def decode(model: DiffusionModel, states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
    """Decode states, all of which can be decoded."""
    pictures = model.decode(states)
    for picture in pictures:
        assert isinstance(picture, PIL.Image.Image)
    return [picture for picture in pictures if isinstance(picture, PIL.Image.Image)]


def advance(model: DiffusionModel, state: DenoisingState, leave: int = 0) -> None:
    """Take the steps of one state alone, but for the last ``leave`` ones."""
    while state.total - state.index > leave:
        state.advance(model.forward([state], state.rows)[0])


def denoise(
    model: DiffusionModel,
    requests: Sequence[GenerationRequest],
    adapters: Mapping[str, Adapter] = NO_ADAPTERS,
) -> list[DenoisingState]:
    """Run the requests in shared passes; each leaves when it is finished."""
    with torch.inference_mode():
        states = prepare(model, requests, adapters)
        while running := [state for state in states if not state.finished]:
            rows = sum(state.rows for state in running)
            for state, prediction in zip(running, model.forward(running, rows), strict=True):
                state.advance(prediction)
    return states


def assert_same_latents(
    model: LatentDiffusion,
    request: GenerationRequest,
    pipeline: Any,
    adapters: Mapping[str, Adapter] = NO_ADAPTERS,
) -> None:
    expected = stock(pipeline, request, "latent")
    (state,) = denoise(model, [request], adapters)
    difference = (state.latents - expected).abs().max() / expected.abs().max()
    assert difference <= 1e-5


def assert_same_picture(model: LatentDiffusion, state: DenoisingState, expected: Any) -> None:
    with torch.inference_mode():
        (picture,) = decode(model, [state])
    difference = np.asarray(picture).astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).max() <= 1
