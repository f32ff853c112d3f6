"""Random pipelines of a few megabytes, of the exact classes, and checkpoints in the old layout."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from models.catalog import BUILT_IN

WIDTH = 32
T5_WIDTH = 80
BLOCKS = 2
LAYERS = 1


def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(BUILT_IN.parent / "embedded" / "tokenizer")


def _second_tokenizer() -> CLIPTokenizer:
    """Its end of text is no padding, as of the released models."""
    second = tokenizer()
    second.pad_token = "!</w>"
    return second


def _clip_config() -> CLIPTextConfig:
    tokens = tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=WIDTH,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )


def _vae(latent_channels: int = 4, **extra: object) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * BLOCKS,
        up_block_types=("UpDecoderBlock2D",) * BLOCKS,
        layers_per_block=LAYERS,
        latent_channels=latent_channels,
        **extra,
    )


def _unet(**extra: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=LAYERS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        **{"cross_attention_dim": WIDTH, **extra},
    )


def stable_diffusion() -> StableDiffusionPipeline:
    return _stable_diffusion(StableDiffusionPipeline, unet_channels=4)


def inpainting() -> StableDiffusionInpaintPipeline:
    """Its UNet sees the mask and the masked picture beside the latents."""
    return _stable_diffusion(StableDiffusionInpaintPipeline, unet_channels=9)


def _stable_diffusion(pipeline: type[DiffusionPipeline], unet_channels: int) -> DiffusionPipeline:
    torch.manual_seed(0)
    return pipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=tokenizer(),
        unet=_unet(in_channels=unet_channels, out_channels=4),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(*, refiner: bool) -> DiffusionPipeline:
    if refiner:
        return _sdxl(
            StableDiffusionXLImg2ImgPipeline,
            refiner=True,
            requires_aesthetics_score=True,
            force_zeros_for_empty_prompt=False,
        )
    return _sdxl(StableDiffusionXLPipeline)


def sdxl_inpainting() -> DiffusionPipeline:
    """Its UNet sees the mask and the masked picture beside the latents."""
    return _sdxl(StableDiffusionXLInpaintPipeline, unet_channels=9)


def _sdxl(
    pipeline: type[DiffusionPipeline],
    *,
    refiner: bool = False,
    unet_channels: int = 4,
    **options: object,
) -> DiffusionPipeline:
    torch.manual_seed(1 if refiner else 0)
    # Six (or, with the aesthetic score, five) numbers of eight channels, and the pooled text.
    numbers = 5 if refiner else 6
    unet = _unet(
        in_channels=unet_channels,
        out_channels=4,
        cross_attention_dim=WIDTH if refiner else 2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=numbers * 8 + WIDTH,
    )
    return pipeline(
        vae=_vae(),
        text_encoder=None if refiner else CLIPTextModel(_clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config()),
        tokenizer=None if refiner else tokenizer(),
        tokenizer_2=_second_tokenizer(),
        unet=unet,
        # As the released models have it, for other schedulers too.
        scheduler=EulerDiscreteScheduler.from_config(
            {
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "steps_offset": 1,
                "timestep_spacing": "leading",
                "clip_sample": False,
                "set_alpha_to_one": False,
            }
        ),
        add_watermarker=False,
        **options,
    )


def sd3(*, t5: bool = False, newer: bool = False, channels: int = 16) -> StableDiffusion3Pipeline:
    """Stable Diffusion 3, without its third text encoder or with it.

    Args:
        newer: as 3.5: some layers have a second attention, keys and queries are normalised; and a
            schedule that depends on the size.
        channels: that the transformer takes; 33 for one that sees mask and masked picture.
    """
    torch.manual_seed(0)
    newer_blocks = {"dual_attention_layers": (0, 1), "qk_norm": "rms_norm"} if newer else {}
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            num_layers=4,
            in_channels=channels,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=WIDTH,
            # More than the CLIP encoders have together: the rest is padding.
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=16,
            pos_embed_max_size=24,
            **newer_blocks,
        ),
        vae=_vae(16, shift_factor=0.0609, scaling_factor=1.5305),
        text_encoder=CLIPTextModelWithProjection(_clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config()),
        text_encoder_3=_t5() if t5 else None,
        tokenizer=tokenizer(),
        tokenizer_2=_second_tokenizer(),
        tokenizer_3=_t5_tokenizer() if t5 else None,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=newer),
    )


def _t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(_t5_tokenizer()),
            d_model=T5_WIDTH,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            # Otherwise it drops out, as it is in the training mode.
            dropout_rate=0.0,
        )
    )


def _t5_tokenizer() -> T5TokenizerFast:
    """Of letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -3.0) for letter in "\u2581abcdefghijklmnopqrstuvwxyz()0123456789.:"]
    return T5TokenizerFast(vocab=special + letters, extra_ids=0)


def save_single_file(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Write the pipeline's weights under the names of the original Stable Diffusion code."""
    state = {
        f"model.diffusion_model.{_unet_key(key)}": value
        for key, value in pipeline.unet.state_dict().items()
    }
    for key, value in pipeline.vae.state_dict().items():
        name = _vae_key(key)
        # Attention was made of 1 x 1 convolutions.
        convolution = ".attn_1." in name and value.ndim == 2
        state[f"first_stage_model.{name}"] = value[..., None, None] if convolution else value
    for key, value in pipeline.text_encoder.state_dict().items():
        prefix = "" if key.startswith("text_model.") else "text_model."
        state[f"cond_stage_model.transformer.{prefix}{key}"] = value
    save_file({key: value.contiguous().clone() for key, value in state.items()}, file)


_UNET_LAYERS = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
)
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _unet_key(key: str) -> str:
    is_resnet = ".resnets." in key
    for ours, theirs in _UNET_LAYERS:
        if key.startswith(ours + "."):
            key = theirs + key.removeprefix(ours)
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match:
        side, block, kind, layer, rest = match.groups()
        number = int(block) * (LAYERS + 1) + int(layer) + (1 if side == "down" else 0)
        place = "input_blocks" if side == "down" else "output_blocks"
        key = f"{place}.{number}.{0 if kind == 'resnets' else 1}.{rest}"
    key = re.sub(
        r"down_blocks\.(\d)\.downsamplers\.0\.conv",
        lambda found: f"input_blocks.{(int(found[1]) + 1) * (LAYERS + 1)}.0.op",
        key,
    )
    # The only block with an upsampler has attentions as well, which come before it.
    key = re.sub(
        r"up_blocks\.(\d)\.upsamplers\.0\.conv",
        lambda found: f"output_blocks.{int(found[1]) * (LAYERS + 1) + LAYERS}.2.conv",
        key,
    )
    if is_resnet:
        for ours, theirs in _UNET_RESNET.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
    return key


def _vae_key(key: str) -> str:
    key = re.sub(r"up_blocks\.(\d)\.", lambda found: f"up.{BLOCKS - 1 - int(found[1])}.", key)
    for ours, theirs in (
        ("down_blocks.", "down."),
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"),
        (".resnets.", ".block."),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
        ("group_norm", "norm"),
        ("to_out.0", "proj_out"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
    ):
        key = key.replace(ours, theirs)
    return key
