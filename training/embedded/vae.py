"""The VAE stage: 64×64 pictures to 4×16×16 latents and back. Also refines the decoder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from training.embedded.art import STYLES
from training.embedded.dice import seeded
from training.embedded.loop import Share, load_trained
from training.embedded.scenes import SIDE, compose, training_scene
from training.embedded.tensors import to_tensor
from training.embedded.world import World, load_world

ARCHITECTURE: dict[str, Any] = {
    "sample_size": SIDE,
    "latent_channels": 4,
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    # The latents' mean and scale are folded into the quant convolutions instead.
    "scaling_factor": 1.0,
}

KL_WEIGHT = 1e-5
HINT_SHARE = 0.35
"""Part of the training in which the hint fades out."""
SILENT = -30.0
"""Logarithm of the variance of a latent that is always 0."""
LATENT_NOISE = 0.05
"""Standard deviation of the noise that a refined decoder must bear: UNets are never exact."""


@dataclass(frozen=True, slots=True)
class VAEPlan:
    """Train the whole VAE, or only the decoder of the one in a directory.

    With the encoder left as it is, the latents keep their meaning, and a UNet that was trained
    on them stays valid.
    """

    decoder_of: Path | None = None

    def learner(self, device: torch.device) -> VAELearner:
        if self.decoder_of is None:
            vae = new_vae()
        else:
            vae = load_vae(self.decoder_of)
            vae.requires_grad_(False)
            vae.decoder.requires_grad_(True)
            vae.post_quant_conv.requires_grad_(True)
        return VAELearner(
            vae.to(device), load_world(), device, decoder_only=self.decoder_of is not None
        )


class VAELearner:
    """Absolute, squared and gradient error of the picture, and a little KL."""

    def __init__(
        self, network: AutoencoderKL, world: World, device: torch.device, *, decoder_only: bool
    ) -> None:
        self.network = network
        self._world, self._device, self._decoder_only = world, device, decoder_only

    def loss(self, share: Share) -> Tensor:
        """The loss of freshly composed scenes of all subjects in both styles."""
        pixels = random_composites(self._world, share).to(self._device)
        posterior = self.network.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=share.generator).to(self._device)
        if self._decoder_only:
            latents = posterior.mean + LATENT_NOISE * noise
            return picture_loss(self.network.decode(latents).sample, pixels)
        decoded = self.network.decode(posterior.mean + posterior.std * noise).sample
        kl: Tensor = posterior.kl().mean()
        return (
            picture_loss(decoded, pixels)
            + KL_WEIGHT * kl
            + max(0.0, 1 - share.done / HINT_SHARE) * hint_loss(posterior.mean, pixels)
        )


def random_composites(world: World, share: Share) -> Tensor:
    """Training scenes of any subject in any style: [count, 3, 64, 64], -1..1."""
    rng = seeded(share.generator.initial_seed())
    return to_tensor(
        [
            compose(
                world,
                training_scene(world, rng.choice(world.subjects), rng.choice(STYLES), rng),
            )
            for _ in range(share.count)
        ]
    )


def picture_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """L1 + L2 + L1 of the differences between neighbours, which keeps edges sharp."""
    error = decoded - pixels
    edges = (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2
    return error.abs().mean() + error.square().mean() + edges


def hint_loss(latents: Tensor, pixels: Tensor) -> Tensor:
    """Ties three latent channels to a small copy of the picture.

    A VAE that starts from a thumbnail needs a fraction of the samples to become useful.
    """
    thumbnail = 2 * functional.avg_pool2d(pixels, 4)
    return functional.mse_loss(latents[:, :3], thumbnail)


def new_vae() -> AutoencoderKL:
    """An untrained VAE whose quant convolutions change nothing and whose posterior is narrow."""
    vae = AutoencoderKL(**ARCHITECTURE)
    for convolution in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    channels = vae.config.latent_channels
    with torch.no_grad():
        vae.encoder.conv_out.weight[channels:] = 0
        vae.encoder.conv_out.bias[channels:] = -6
    return vae


def load_vae(directory: Path) -> AutoencoderKL:
    """A finished VAE in fp32. Unlike `from_pretrained` it does not note where it came from, which
    would otherwise be exported with it."""
    vae = new_vae()
    vae.load_state_dict(load_file(directory / "diffusion_pytorch_model.safetensors"))
    return vae.eval()


def trained_vae(checkpoint: Path) -> AutoencoderKL:
    """The averaged VAE of a checkpoint."""
    vae = new_vae()
    load_trained(checkpoint, vae)
    return vae.eval()


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pixels: Tensor) -> None:
    """Make each latent channel have mean 0 and deviation 1 on the given pictures.

    The quant convolution gets the map, the post-quant convolution its inverse: pictures stay
    what they were, and `scaling_factor` can be 1.
    """
    latents = vae.encode(pixels).latent_dist.mean
    mean, scale = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean)
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += (post.weight[:, :, 0, 0] @ mean).clone()
    post.weight *= scale[None, :, None, None]
    quant.weight[:channels] /= scale[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / scale
    quant.bias[channels:] -= 2 * scale.log()


@torch.no_grad()
def with_empty_latents(source: AutoencoderKL, channels: int) -> AutoencoderKL:
    """The same VAE with latents of more channels: those that are added are always 0, and ignored.

    The pictures are the same, to the last bit; the classes for inpainting with Stable Diffusion 3
    take no other number of channels than 16.
    """
    known = source.config.latent_channels
    other = AutoencoderKL(
        **(ARCHITECTURE | {"latent_channels": channels, "shift_factor": 0.0, "force_upcast": False})
    )
    state = source.state_dict()
    # Means come first, and then the logarithms of variances.
    moments = torch.cat([torch.arange(known), channels + torch.arange(known)])
    for name, fresh in other.state_dict().items():
        value = state[name]
        if value.shape == fresh.shape:
            continue
        wide = torch.zeros_like(fresh)
        if name == "decoder.conv_in.weight":
            wide[:, :known] = value
        elif name == "post_quant_conv.weight":
            wide[:known, :known] = value
        elif name == "post_quant_conv.bias":
            wide[:known] = value
        elif name == "quant_conv.weight":
            wide[moments[:, None], moments[None, :]] = value
        else:
            wide[moments] = value
        state[name] = wide
    silent = torch.ones(2 * channels, dtype=torch.bool)
    silent[: channels + known] = False
    state["quant_conv.bias"][silent] = SILENT
    other.load_state_dict(state)
    return other.eval()
