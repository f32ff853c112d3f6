"""The options of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from models.architectures import TextEncoder

Crop: TypeAlias = Literal["centre", "random"]
MixedPrecision: TypeAlias = Literal["no", "fp16", "bf16"]
OptimizerName: TypeAlias = Literal["adamw", "adamw8bit"]
Schedule: TypeAlias = Literal["constant", "linear", "cosine"]
Target: TypeAlias = Literal["attention", "feed-forward", "convolution"]

CROPS: Final[tuple[Crop, ...]] = get_args(Crop)
MIXED_PRECISIONS: Final[tuple[MixedPrecision, ...]] = get_args(MixedPrecision)
OPTIMIZERS: Final[tuple[OptimizerName, ...]] = get_args(OptimizerName)
SCHEDULES: Final[tuple[Schedule, ...]] = get_args(Schedule)
TARGETS: Final[tuple[Target, ...]] = get_args(Target)

_WHERE: Final = frozenset({"images", "work", "output", "catalog", "device"})
_SAID: Final = frozenset({"class_name", "licence", "description"})
_SHOWN: Final = frozenset({"validation_every", "validation_prompts", "validation_images"})
_FREE: Final = _WHERE | _SAID | _SHOWN | {"steps", "checkpoint_every", "gradient_checkpointing"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything that decides the result, and where it is made.

    Attributes:
        base: catalog name of the model to start from.
        images: folder with the subject's pictures.
        token: the word that will stand for the subject.
        class_name: what kind of thing the subject is.
        output: name of the result in the model store.
        work: folder of this run: checkpoints, log, sheets, class pictures.
        catalog: file with catalog entries of the user's own.
        instance_prompt: of pictures without a text file beside them; has the token in it.
        resolution: side of the training pictures in pixels; None for the base's default size.
        crop: where pictures of another shape are cut; ``random`` cuts ``crops`` times.
        flip: train on mirrored copies too.
        full: train all weights rather than a LoRA.
        train_text_encoder: train the CLIP text encoders as well.
        text_encoders: those that are used, of a base that can do without some of its own; None for
            what its entry says.
        rank: of the LoRA's matrices.
        targets: which layers get a LoRA.
        prior_preservation: train on ``class_images`` pictures by the base as well.
        class_prompt: what they show; a dynamic-prompts template.
        prior_weight: how much their loss counts, compared with that of the subject.
        steps: updates of the weights.
        batch_size: pictures of the subject (and, besides, of the class) in a pass of a process.
        accumulation: passes of each process that make one update.
        clip: largest norm of the gradient.
        optimizer: AdamW, with its moments in fp32 or in 8 bits.
        snr_gamma: min-SNR-gamma of the loss (Hang et al. 2023); None for equal weights.
        validation_every: updates between contact sheets; 0 for none.
        checkpoint_every: updates between checkpoints.
        seed: of everything random.
    """

    base: str
    images: Path
    token: str
    class_name: str
    output: str
    work: Path
    instance_prompt: str
    class_prompt: str
    licence: str | None = None
    description: str = ""
    catalog: Path | None = None
    resolution: int | None = None
    crop: Crop = "centre"
    crops: int = 8
    flip: bool = False
    full: bool = False
    train_text_encoder: bool = False
    text_encoders: tuple[TextEncoder, ...] | None = None
    rank: int = 16
    targets: tuple[Target, ...] = ("attention",)
    prior_preservation: bool = False
    class_images: int = 200
    prior_weight: float = 1.0
    steps: int = 800
    batch_size: int = 1
    accumulation: int = 1
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-4
    schedule: Schedule = "constant"
    warmup: int = 0
    clip: float = 1.0
    snr_gamma: float | None = None
    mixed_precision: MixedPrecision = "no"
    device: str = "auto"
    gradient_checkpointing: bool = False
    seed: int = 0
    validation_every: int = 100
    validation_prompts: tuple[str, ...] = ()
    validation_images: int = 4
    checkpoint_every: int = 100

    @property
    def sheet_prompts(self) -> tuple[str, ...]:
        """What contact sheets show; nothing if there are none."""
        if not self.validation_every:
            return ()
        return self.validation_prompts or (self.instance_prompt,)

    def shaping(self) -> dict[str, Any]:
        """The options that a run cannot change when it goes on, as plain values by their names.

        ``steps`` may grow: the same pictures come in the same order, just for longer.
        """
        values = {name: value for name, value in asdict(self).items() if name not in _FREE}
        encoders = None if self.text_encoders is None else list(self.text_encoders)
        return values | {"targets": list(self.targets), "text_encoders": encoders}
