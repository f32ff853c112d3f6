"""The text stage: a byte-pair vocabulary of the captions and a small CLIP text encoder."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.embedded.art import STYLES
from training.embedded.cache import Conditions, Encode
from training.embedded.captions import captions
from training.embedded.dice import seeded
from training.embedded.loop import Share, load_trained
from training.embedded.scenes import Scene, training_scene
from training.embedded.world import World, load_world

ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
    "projection_dim": 128,
}
VOCABULARY = 2048
_SCENES_PER_SUBJECT = 60
_START, _END = "<|startoftext|>", "<|endoftext|>"
_MENTION_WEIGHT = 10.0


def train_tokenizer(world: World, directory: Path, seed: int) -> None:
    """Learn a vocabulary from captions of all subjects and write it in CLIP's format.

    All 256 bytes are in it, so that any prompt can be read, if not understood.
    """
    rng = seeded(seed)
    texts = [
        text
        for subject in world.subjects
        for _ in range(_SCENES_PER_SUBJECT)
        for text in captions(training_scene(world, subject, rng.choice(STYLES), rng))
    ]
    tokenizer = Tokenizer(models.BPE(unk_token=_END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 2 - len(alphabet),
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.model.save(folder)
        learnt = json.loads((Path(folder) / "vocab.json").read_text(encoding="utf-8"))
        lines = (Path(folder) / "merges.txt").read_text(encoding="utf-8").splitlines()
    # A byte may also end a word: CLIP spells that as another token.
    names = sorted(alphabet) + [f"{byte}</w>" for byte in sorted(alphabet)]
    names += [name for name in learnt if name not in set(names)]
    names += [_START, _END]
    CLIPTokenizer(
        vocab={name: number for number, name in enumerate(names)},
        merges=[tuple(line.split()) for line in lines if not line.startswith("#version")],
        pad_token=_END,
        model_max_length=ARCHITECTURE["max_position_embeddings"],
    ).save_pretrained(directory)


@dataclass(frozen=True, slots=True)
class TextPlan:
    """Teach the encoder to tell what a caption says before the UNet listens to it.

    A UNet and an untrained text encoder learn to ignore each other.
    """

    tokenizer: Path

    def learner(self, device: torch.device) -> TextLearner:
        tokenizer = CLIPTokenizer.from_pretrained(self.tokenizer)
        world = load_world()
        return TextLearner(new_network(world, tokenizer).to(device), tokenizer, world, device)


class CaptionReader(nn.Module):
    """The text encoder with two heads: which object, and which colours and styles."""

    def __init__(self, encoder: CLIPTextModel, objects: int, mentions: int) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.object_head = nn.Linear(width, objects)
        self.mention_head = nn.Linear(width, mentions)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, objects] and [B, mentions] of token ids [B, 77]."""
        pooled = self.encoder(ids).pooler_output
        return self.object_head(pooled), self.mention_head(pooled)


class TextLearner:
    """Classification of objects, colours and styles from captions."""

    def __init__(
        self,
        network: CaptionReader,
        tokenizer: CLIPTokenizer,
        world: World,
        device: torch.device,
    ) -> None:
        self.network = network
        self._tokenizer, self._world, self._device = tokenizer, world, device
        self._mentions = (*world.colours, *STYLES)

    def loss(self, share: Share) -> Tensor:
        """Cross-entropy of the object, binary cross-entropy of what else is mentioned."""
        rng = seeded(share.generator.initial_seed())
        world = self._world
        numbers = [rng.randrange(len(world.subjects)) for _ in range(share.count)]
        texts, said = [], []
        for number in numbers:
            scene = training_scene(world, world.subjects[number], rng.choice(STYLES), rng)
            text = rng.choice(captions(scene))
            texts.append(text)
            said.append(self._said(scene, text))
        tokens = self._tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        objects, mentions = self.network(tokens.input_ids.to(self._device))
        target = torch.tensor(numbers, device=self._device)
        said_target = torch.tensor(said, device=self._device)
        return functional.cross_entropy(objects, target) + (
            _MENTION_WEIGHT * functional.binary_cross_entropy_with_logits(mentions, said_target)
        )

    def _said(self, scene: Scene, text: str) -> list[float]:
        # The object's own name may contain a colour: a red apple on a blue background.
        rest = text.replace(scene.subject.name, "", 1)
        return [float(word in rest) for word in self._mentions]


def new_network(world: World, tokenizer: CLIPTokenizer) -> CaptionReader:
    """An untrained text encoder with its heads."""
    encoder = CLIPTextModel(
        CLIPTextConfig(
            **ARCHITECTURE,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return CaptionReader(encoder, len(world.subjects), len(world.colours) + len(STYLES))


def caption_encoder(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> Encode:
    """Last hidden states "text" [texts, 77, width], padded as the stock pipeline pads."""

    def encode(texts: list[str]) -> Conditions:
        tokens = tokenizer(
            texts,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return {"text": text_encoder(tokens.input_ids.to(text_encoder.device)).last_hidden_state}

    return encode


def trained_text_encoder(checkpoint: Path, tokenizer: Path) -> CLIPTextModel:
    """The averaged text encoder of a checkpoint, without its heads."""
    network = new_network(load_world(), CLIPTokenizer.from_pretrained(tokenizer))
    load_trained(checkpoint, network)
    return network.encoder.eval()
