"""The memory that a run will take, stage by stage, found without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from engine.pipelines.t5 import TOKENS
from models.activations import peak_bytes
from models.catalog import ModelEntry
from models.dry_run import weightless
from models.dtypes import DTYPES
from training.dreambooth.base import (
    channels_of,
    find_base,
    side_of,
    text_encoders_of,
    weights_precision,
)
from training.dreambooth.drawing import pictures_at_once
from training.dreambooth.families import FAMILIES, SIZES, TunedFamily
from training.dreambooth.latents import at_once
from training.dreambooth.network import Denoiser, prepare
from training.dreambooth.optimizers import state_bytes
from training.dreambooth.options import Options
from training.dreambooth.skeleton import config_folder, in_precision, memory
from training.dreambooth.text import CHUNK, SENTENCES, Text, pooled_name, read_clip


@dataclass(frozen=True, slots=True)
class Stage:
    """What is in memory at one time of a run.

    Attributes:
        name: of what is done then.
        parts: bytes at the peak, by what they are for.
    """

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take.

    Attributes:
        stages: in their order; what one has in memory is gone in the next.
        trained: parameters that training changes.
    """

    stages: tuple[Stage, ...]
    trained: int

    @property
    def peak(self) -> Stage:
        """The stage that takes most."""
        return max(self.stages, key=lambda stage: stage.total)


def make_plan(options: Options) -> Plan:
    """Plan a run in one process.

    Raises:
        TrainingError: the base cannot be tuned like that, or its configs are not here.
        ModelError: there is no such base.
    """
    networks = _Networks(find_base(options), options)
    stages = [networks.reading(name) for name in networks.text_encoders]
    if options.prior_preservation:
        stages.append(networks.drawing("class pictures", {"weights": memory(networks.denoiser)}))
    stages.append(networks.encoding())
    training = networks.training()
    stages.append(training)
    if options.validation_every:
        kept = {name: size for name, size in training.parts.items() if name in _KEPT}
        stages.append(networks.drawing("contact sheets", kept))
    return Plan(tuple(stages), networks.trained)


_KEPT: Final = ("weights", "LoRA", "optimiser")


class _Networks:
    """The networks of a run, without weights."""

    def __init__(self, entry: ModelEntry, options: Options) -> None:
        self._options = options
        self._side = side_of(entry, options)
        precision = weights_precision(options)
        self._folder = config_folder(entry, precision)
        self._dtype = DTYPES[precision]
        networks = weightless(self._folder, entry.skipped_components)
        self._family: TunedFamily = FAMILIES[entry.family]
        self.text_encoders = text_encoders_of(entry)
        self._encoders: dict[str, Any] = {
            name: in_precision(networks[name], precision) for name in self.text_encoders
        }
        self._channels = channels_of(entry, self._folder)
        self._vae = cast(Any, networks["vae"])
        upcast = entry.architecture.upcasts_vae and self._vae.config.force_upcast
        self._decoder: Any = self._vae
        if not upcast:
            self._decoder = in_precision(deepcopy(self._vae), precision)
        self.denoiser: Any = in_precision(networks[self._family.denoiser], precision)
        self.trained = 0

    def reading(self, name: str) -> Stage:
        """Prompts through a text encoder."""
        encoder = self._encoders[name]

        @torch.no_grad()
        def work() -> None:
            if name == self._family.t5:
                encoder(torch.zeros(CHUNK, TOKENS, dtype=torch.long))
            else:
                read_clip(name, encoder, self._ids(name, CHUNK), self._family)

        return Stage(f"prompts: {name}", _parts(memory(encoder), peak_bytes(work, [encoder])))

    def encoding(self) -> Stage:
        """Pictures through the VAE, in fp32."""
        count, side, vae = at_once(self._side**2), self._side, self._vae

        @torch.no_grad()
        def work() -> None:
            vae.encode(torch.zeros(count, 3, side, side)).latent_dist.std  # noqa: B018

        return Stage("pictures: vae", _parts(memory(vae), peak_bytes(work, [vae])))

    def drawing(self, name: str, kept: Mapping[str, int]) -> Stage:
        """Pictures by the denoiser, beside what is in memory anyway."""
        count = pictures_at_once(self._side)
        vae, network = self._decoder, self.denoiser
        denoiser = Denoiser(self._family, network, Text(self._family, self._channels, {}))

        @torch.no_grad()
        def denoise() -> None:
            # With guidance, each picture has two rows.
            latents, told = self._inputs(2 * count, trained=False)
            denoiser(latents.to(self._dtype), torch.zeros(2 * count), told)

        @torch.no_grad()
        def decode() -> None:
            vae.decode(torch.zeros(count, *self._latent, dtype=vae.dtype))

        activations = max(peak_bytes(denoise, [network]), peak_bytes(decode, [vae]))
        weights = kept["weights"] + memory(vae)
        return Stage(name, {**kept, "weights": weights, "activations": activations})

    def training(self) -> Stage:
        """Updates. The denoiser has its LoRA from here on."""
        options = self._options
        trained = self._family.clip if options.train_text_encoder else ()
        encoders = {name: self._encoders[name] for name in trained}
        with torch.device("meta"):
            denoiser = prepare(self._family, self.denoiser, encoders, self._channels, options)
        denoiser.train()
        parameters = list(denoiser.trained().values())
        self.trained = sum(parameter.numel() for parameter in parameters)
        of_trained = sum(parameter.nbytes for parameter in parameters)
        state = state_bytes(options.optimizer, parameters)
        rows = options.batch_size * (2 if options.prior_preservation else 1)

        def forward() -> Tensor:
            latents, told = self._inputs(rows, trained=bool(encoders))
            mixed = options.mixed_precision != "no"
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                prediction: Tensor = denoiser(latents, torch.zeros(rows), told)
            return (prediction.float() - latents).square().mean()

        peak = training_bytes(forward, denoiser, state, options)
        parts = {"weights": memory(denoiser) - of_trained, "LoRA": of_trained}
        if options.full:
            parts = {"weights": memory(denoiser)}
        activations = peak - state - of_trained
        return Stage(
            "training",
            {**parts, "gradients": of_trained, "optimiser": state, "activations": activations},
        )

    @property
    def _latent(self) -> tuple[int, int, int]:
        """Channels, height and width of the latents of a picture."""
        config = self._vae.config
        side = self._side // 2 ** (len(config.block_out_channels) - 1)
        return (config.latent_channels, side, side)

    def _ids(self, name: str, rows: int) -> Tensor:
        tokens = self._encoders[name].config.max_position_embeddings
        return torch.zeros(rows, tokens, dtype=torch.long)

    def _inputs(self, rows: int, *, trained: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """What the denoiser and the text encoders that are trained are given."""
        told: dict[str, Tensor] = {}
        for name, encoder in self._encoders.items():
            config = encoder.config
            if name == self._family.t5:
                told[SENTENCES] = torch.zeros(rows, TOKENS, config.d_model, dtype=self._dtype)
            elif trained:
                told[name] = self._ids(name, rows)
            else:
                ids = self._ids(name, rows)
                told[name] = torch.zeros(*ids.shape, config.hidden_size, dtype=self._dtype)
                pooled = torch.zeros(rows, config.projection_dim, dtype=self._dtype)
                told[pooled_name(name)] = pooled
        told |= {name: torch.zeros(rows, SIZES) for name in self._family.beside}
        return torch.zeros(rows, *self._latent), told


def training_bytes(
    forward: Callable[[], Tensor], module: nn.Module, state: int, options: Options
) -> int:
    """The most bytes that training takes beside the weights of a module.

    Args:
        forward: computes the loss.
        state: bytes of what the optimiser remembers.
    """

    def work() -> None:
        parameters = [one for one in module.parameters() if one.requires_grad]
        # Every update but the first begins with it.
        moments = torch.empty(state, dtype=torch.uint8)
        # Later passes of an update find the gradients of the first.
        for _ in range(min(2, options.accumulation)):
            # Autograd is untyped in torch.
            forward().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, options.clip)
        if options.optimizer == "adamw" and options.device != "cpu":
            # On a GPU torch takes the roots of all second moments at once.
            torch.empty(sum(one.numel() for one in parameters))
        del moments

    return peak_bytes(work, [module])


def _parts(weights: int, activations: int) -> dict[str, int]:
    return {"weights": weights, "activations": activations}
