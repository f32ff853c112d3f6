"""The autoencoder (VAE) of a pipeline: from pictures to latents, and back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import PIL.Image
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

# Decoding takes about 3 kB per pixel in fp32.
VAE_PIXELS = 1024 * 1024
# Side of the picture that the colours of previews are fitted to: 1,024 samples for 15 numbers.
FITTED_SIDE = 32


class Picture(NamedTuple):
    """A picture to encode.

    Attributes:
        size: width and height in pixels, multiples of the VAE's scale.
        rgb: raw bytes, ``height * width * 3``, row by row.
        masked: raw bytes, ``height * width``; what is 128 or more is greyed out. None for nothing.
    """

    size: tuple[int, int]
    rgb: bytes
    masked: bytes | None = None


class Autoencoder:
    """Encodes and decodes in batches, in pieces where they would take too much memory.

    Latents are scaled as the denoiser knows them.

    Args:
        vae: is laid out in channels_last.
        most_pixels: batches with more pixels than this go picture by picture, pictures with more
            in tiles.
    """

    def __init__(self, vae: Any, most_pixels: int = VAE_PIXELS) -> None:
        self._vae = vae.to(memory_format=torch.channels_last)
        # Kept, as these properties look through the whole module each time.
        self._device: torch.device = vae.device
        self._dtype: torch.dtype = vae.dtype
        self._most_pixels = most_pixels
        self.channels: int = vae.config.latent_channels
        self._scaling: float = vae.config.scaling_factor
        self._shift: float = vae.config.shift_factor or 0.0
        self._mean = _by_channel(vae, "latents_mean")
        self._std = _by_channel(vae, "latents_std")
        self.scale: int = 2 ** (len(vae.config.block_out_channels) - 1)
        self._pictures = VaeImageProcessor(vae_scale_factor=self.scale)
        self._masks = VaeImageProcessor(
            vae_scale_factor=self.scale,
            do_normalize=False,
            do_binarize=True,
            do_convert_grayscale=True,
        )
        self._latent_to_rgb: torch.Tensor | None = None

    def encode(self, pictures: Iterable[Picture]) -> dict[Picture, DiagonalGaussianDistribution]:
        """What latents each picture may have; equal ones are encoded once.

        Pictures of one size go in one batch, and masked ones in another, so that for one request
        alone each call is the stock pipeline's: kernels round otherwise for other batches.
        """
        groups: dict[Hashable, list[Picture]] = {}
        for picture in dict.fromkeys(pictures):
            groups.setdefault((picture.size, picture.masked is None), []).append(picture)
        posteriors = {}
        for group in groups.values():
            self._bound(len(group), math.prod(group[0].size))
            pixels = torch.cat([self._pixels(picture) for picture in group])
            encoded = self._vae.encode(pixels.to(self._device, self._dtype)).latent_dist
            for picture, parameters in zip(group, encoded.parameters.split(1), strict=True):
                # What is sampled from them is then the same in every precision.
                posteriors[picture] = DiagonalGaussianDistribution(parameters.float())
        return posteriors

    def sample(
        self, posterior: DiagonalGaussianDistribution, generator: torch.Generator
    ) -> torch.Tensor:
        """Sample latents ``[1, channels, height, width]``, in fp32."""
        return self._scaled(posterior.sample(generator))

    def mask(self, size: tuple[int, int], mask: bytes) -> torch.Tensor:
        """A mask (raw bytes, ``height * width``) in latent pixels, ``[1, 1, height, width]``:
        1 where it is 128 or more, else 0. Each takes the pixel in its upper left corner."""
        width, height = size
        latent_size = (height // self.scale, width // self.scale)
        binary = torch.nn.functional.interpolate(self._binary(size, mask), latent_size)
        return binary.to(self._device)

    def decode(self, latents: torch.Tensor) -> list[PIL.Image.Image | ArithmeticError]:
        """RGB pictures of ``[pictures, channels, height, width]``.

        A VAE may overflow, as some do in fp16. What is not a number would become black: there is an
        error in the place of such a picture.
        """
        self._bound(len(latents), latents.shape[2] * latents.shape[3] * self.scale**2)
        unscaled = latents / self._scaling + self._shift
        if self._mean is not None and self._std is not None:
            unscaled = unscaled * self._std + self._mean
        pixels = self._vae.decode(unscaled.to(self._dtype), return_dict=False)[0]
        sound = torch.isfinite(pixels).flatten(1).all(dim=1).tolist()
        if not all(sound):
            pixels = torch.nan_to_num(pixels)
        pictures = self._pictures.postprocess(pixels, output_type="pil")
        return [
            picture
            if finite
            else ArithmeticError(f"decoded pixels are not finite in {pixels.dtype}")
            for picture, finite in zip(pictures, sound, strict=True)
        ]

    def latent_preview(self, latents: torch.Tensor) -> PIL.Image.Image:
        """A rough RGB picture of ``[1, channels, height, width]``, one pixel per latent."""
        if self._latent_to_rgb is None:
            self._latent_to_rgb = self._fit_latent_to_rgb()
        colours = torch.einsum("chw,cd->hwd", latents[0].float(), self._latent_to_rgb[:-1])
        colours = (colours + self._latent_to_rgb[-1] + 1) * 127.5
        return PIL.Image.fromarray(colours.round().clamp(0, 255).byte().cpu().numpy())

    def _pixels(self, picture: Picture) -> torch.Tensor:
        """``[1, 3, height, width]`` in [-1, 1]."""
        image = PIL.Image.frombytes("RGB", picture.size, picture.rgb)
        pixels: torch.Tensor = self._pictures.preprocess(image)
        if picture.masked is not None:
            pixels = pixels * (self._binary(picture.size, picture.masked) < 0.5)
        return pixels

    def _binary(self, size: tuple[int, int], mask: bytes) -> torch.Tensor:
        """``[1, 1, height, width]`` of 0 and 1, in pixels."""
        binary: torch.Tensor = self._masks.preprocess(PIL.Image.frombytes("L", size, mask))
        return binary

    def _fit_latent_to_rgb(self) -> torch.Tensor:
        """The affine map from a latent to the mean RGB of its pixels, in [-1, 1].

        Fitted by least squares to what the VAE itself makes of a picture of smooth colours.

        Returns:
            ``[channels + 1, 3]``, the constant last.
        """
        side = FITTED_SIDE * self.scale
        generator = torch.Generator("cpu").manual_seed(0)
        noise = torch.rand((1, 3, 8, 8), generator=generator, dtype=torch.float32)
        pixels = torch.nn.functional.interpolate(noise * 2 - 1, (side, side), mode="bicubic")
        pixels = pixels.clamp(-1, 1)
        self._bound(1, side * side)
        encoded = self._vae.encode(pixels.to(self._device, self._dtype)).latent_dist
        latents = self._scaled(encoded.mode().float())
        inputs = latents[0].flatten(1).T.float().cpu()
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float32)], dim=1)
        means = torch.nn.functional.avg_pool2d(pixels, self.scale)[0].flatten(1).T
        solution: torch.Tensor = torch.linalg.lstsq(inputs, means).solution
        return solution.to(self._device)

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        """What the VAE gives, as the denoiser knows it."""
        if self._mean is not None and self._std is not None:
            latents = (latents - self._mean) / self._std
        return self._scaling * (latents - self._shift)

    def _bound(self, pictures: int, pixels: int) -> None:
        """Set the VAE up for so many pictures of so many pixels each."""
        if pictures * pixels > self._most_pixels:
            self._vae.enable_slicing()
        else:
            self._vae.disable_slicing()
        if pixels > self._most_pixels:
            self._vae.enable_tiling()
        else:
            self._vae.disable_tiling()


def _by_channel(vae: Any, name: str) -> torch.Tensor | None:
    """``[1, channels, 1, 1]``, where the VAE's config has it."""
    values = getattr(vae.config, name, None)
    if values is None:
        return None
    return torch.tensor(values, dtype=torch.float32, device=vae.device).view(1, -1, 1, 1)
