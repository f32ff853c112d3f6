"""The whole recipe: from sprites to an evaluated model, stage by stage, each one resumable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer

from training.embedded import cache, judge, text, unet, vae
from training.embedded.dice import seeded
from training.embedded.loop import LoopSettings, Plan, train
from training.embedded.scenes import compose, training_scene
from training.embedded.tensors import to_tensor
from training.embedded.world import load_world

STAGES = ("vae", "text", "unet", "decoder", "judge", "export")
DRAWN_STYLE = "noto"
_NORMALISING_SCENES = 256


@dataclass(frozen=True)
class Recipe:
    """Where to work and how much. The numbers of samples are totals, also when resuming."""

    out: Path
    device: str = "cpu"
    processes: int = 2
    init_from: Path | None = None
    """A pipeline directory to go on from: its VAE and text encoder stay, its UNet learns on."""
    vae_samples: int = 60_000
    text_samples: int = 60_000
    unet_samples: int = 600_000
    decoder_samples: int = 60_000
    judge_samples: int = 100_000
    scenes_per_object: int = 200
    batch: int = 64
    seed: int = 0

    def run(self, stages: tuple[str, ...]) -> None:
        """Run some stages in their natural order. A stage that is complete returns at once."""
        actions: dict[str, Callable[[], None]] = {
            "vae": self._vae,
            "text": self._text,
            "unet": self._unet,
            "decoder": self._decoder,
            "judge": self._judge,
            "export": self._export,
        }
        for stage in STAGES:
            if stage in stages:
                actions[stage]()

    @property
    def model(self) -> Path:
        """Where the finished pipeline is written."""
        return self.out / "model"

    @property
    def judge(self) -> Path:
        """Where the finished judge is written."""
        return self.out / "judge"

    @property
    def cache(self) -> Path:
        """The cached latents and captions that the UNet is trained on."""
        return self.out / "cache.safetensors"

    def checkpoint(self, stage: str) -> Path:
        """The checkpoint of a stage."""
        return self.out / "checkpoints" / f"{stage}.pt"

    def _vae(self) -> None:
        self._train("vae", vae.VAEPlan(), self.vae_samples, learning_rate=2e-3)
        network = vae.trained_vae(self.checkpoint("vae"))
        world, rng = load_world(), seeded(self.seed)
        pixels = [
            compose(world, training_scene(world, rng.choice(world.drawn), DRAWN_STYLE, rng))
            for _ in range(_NORMALISING_SCENES)
        ]
        vae.normalise_latents(network, to_tensor(pixels))
        network.save_pretrained(self.out / "vae")

    def _text(self) -> None:
        folder = self.out / "tokenizer"
        if not folder.exists():
            text.train_tokenizer(load_world(), folder, self.seed)
        self._train("text", text.TextPlan(folder), self.text_samples, learning_rate=1e-3)
        encoder = text.trained_text_encoder(self.checkpoint("text"), folder)
        encoder.save_pretrained(self.out / "text_encoder")

    def _unet(self) -> None:
        if not self.cache.exists():
            cache.build_cache(
                self.cache,
                load_world(),
                vae.load_vae(self._part("vae")),
                text.caption_encoder(
                    CLIPTokenizer.from_pretrained(self._part("tokenizer")),
                    CLIPTextModel.from_pretrained(
                        self._part("text_encoder"), dtype=torch.float32
                    ).to(self.device),
                ),
                style=DRAWN_STYLE,
                scenes_per_object=self.scenes_per_object,
                device=torch.device(self.device),
                seed=self.seed,
            )
        initial = None if self.init_from is None else self.init_from / "unet"
        plan = unet.UNetPlan(self.cache, initial)
        self._train("unet", plan, self.unet_samples, learning_rate=1.2e-3)

    def _decoder(self) -> None:
        plan = vae.VAEPlan(decoder_of=self._part("vae"))
        self._train("decoder", plan, self.decoder_samples, learning_rate=1e-3)

    def _judge(self) -> None:
        self._train(
            "judge",
            judge.JudgePlan(),
            self.judge_samples,
            learning_rate=2e-3,
            weight_decay=1e-2,
        )
        judge.export_judge(self.checkpoint("judge"), self.judge, load_world())

    def _export(self) -> None:
        """Assemble the pipeline in half precision, out of what is trained so far."""
        decoder = self.checkpoint("decoder")
        pipeline = StableDiffusionPipeline(
            vae=(vae.trained_vae(decoder) if decoder.exists() else vae.load_vae(self._part("vae"))),
            text_encoder=CLIPTextModel.from_pretrained(self._part("text_encoder")),
            tokenizer=CLIPTokenizer.from_pretrained(self._part("tokenizer")),
            unet=unet.trained_unet(self.checkpoint("unet")),
            scheduler=DDIMScheduler(**unet.SCHEDULE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        shutil.rmtree(self.model, ignore_errors=True)
        pipeline.to(torch.float16).save_pretrained(self.model)

    def _part(self, name: str) -> Path:
        """A component from this run, or from the model that it started from."""
        own = self.out / name
        if own.exists() or self.init_from is None:
            return own
        return self.init_from / name

    def _train(
        self,
        stage: str,
        plan: Plan,
        samples: int,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
    ) -> None:
        settings = LoopSettings(
            name=stage,
            checkpoint=self.checkpoint(stage),
            samples=samples,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch=self.batch,
            processes=self.processes,
            device=self.device,
            seed=self.seed,
        )
        train(settings, plan)


def default_stages(init_from: Path | None) -> tuple[str, ...]:
    """All stages; but a UNet to go on from is bound to its own VAE and text encoder."""
    if init_from is None:
        return STAGES
    return tuple(stage for stage in STAGES if stage not in ("vae", "text"))
