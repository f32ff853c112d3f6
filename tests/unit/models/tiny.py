"""Random pipelines of a few megabytes, of the exact classes."""

from __future__ import annotations

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
