"""Prompts of any length, with weights, as embeddings for the denoiser.

A prompt without weights (``prompt_syntax``) that fits the text encoder's 75 tokens has the very
embedding of the stock pipeline. Longer prompts are cut into chunks of up to 75 tokens, at
punctuation where there is some, that are encoded side by side and put behind each other. Only what
is beyond ``MAX_CHUNKS`` is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from compel import EmbeddingsProvider, SplitLongTextMode  # type: ignore[import-untyped]

from engine.lora.adapter import NO_LORAS, Layers, LoraHooks, LoraSet
from engine.pipelines.prompt_syntax import MAX_WEIGHT, parse

MAX_CHUNKS = 8
# Negative prompts repeat across requests, prompts across seeds. 77 x 1024 numbers take 315 kB.
CACHED_TOKENS = 256 * 77
# Chunks that the text encoder sees at once.
ENCODER_ROWS = 64
QUOTED_TOKENS = 8


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A text as the denoiser sees it.

    Attributes:
        embeds: ``[1, tokens, dim]``: 77 tokens a chunk.
        pooled: ``[1, dim]``: the projected summary of the first chunk, without weights; None of
            text encoders that have no projection.
        warnings: what was not done as written: sentences that lack their subject, the prompt.
    """

    embeds: torch.Tensor
    pooled: torch.Tensor | None = None
    warnings: tuple[str, ...] = ()


class _Chunks(NamedTuple):
    """A prompt in tokens: ``[chunks, 77]`` each; ``mask`` is 0 for the padding."""

    ids: torch.Tensor
    weights: torch.Tensor
    mask: torch.Tensor
    warnings: tuple[str, ...]


class PromptEncoder:
    """Encodes texts in batches and remembers them.

    compel cuts prompts into chunks and spreads the weights over the tokens. Two parts of it are
    not used. Its syntax gives a meaning to plain brackets. And its way with weights below 1 runs
    the encoder once more for each of them, so that one request could keep it busy for minutes;
    here they act like those above 1, on the words' own place in the embedding.

    Args:
        tokenizer: CLIP's, as in a Stable Diffusion pipeline.
        text_encoder: likewise; with a projection or without.
        component: its name in the pipeline.
        penultimate: embed with the hidden states before the last layer, not normalised, in place of
            the last layer's.
        batch_invariant: encode chunk by chunk, so that an embedding cannot depend to the last bit
            on what else is encoded.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        *,
        component: str = "text_encoder",
        penultimate: bool = False,
        batch_invariant: bool = False,
    ) -> None:
        # That a prompt is longer than the encoder takes is nothing to log: it is dealt with here.
        tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = (
            True
        )
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._component = component
        self._penultimate = penultimate
        self._rows = 1 if batch_invariant else ENCODER_ROWS
        self._chunker = EmbeddingsProvider(
            tokenizer,
            text_encoder,
            truncate=False,
            split_long_text_mode=SplitLongTextMode.PHRASES,
            padding_attention_mask_value=0,
        )
        self._lora_hooks = LoraHooks(text_encoder)
        # By the text, and the LoRAs of the text encoder.
        self._cache: OrderedDict[tuple[str, Hashable], EncodedPrompt] = OrderedDict()

    def encode(self, texts: Iterable[str], loras: LoraSet = NO_LORAS) -> dict[str, EncodedPrompt]:
        """Each text's embedding, and that of the empty text; the new ones are made in one batch,
        with these LoRAs."""
        # Weights are measured against the empty text, and it fills up what is too short.
        wanted = {text: (text, loras.key(self._component)) for text in ["", *texts]}
        prompts = {text: self._cache[key] for text, key in wanted.items() if key in self._cache}
        chunks = {text: self._cut(text) for text in wanted if text not in prompts}
        encoded = self._run(chunks, loras.layers(self._component))
        for text, (embeds, pooled) in encoded.items():
            empty = prompts[""].embeds if text else embeds
            weighted = _weigh(embeds, chunks[text].weights, empty)
            prompts[text] = EncodedPrompt(weighted, pooled, chunks[text].warnings)
        for text, key in wanted.items():
            self._cache[key] = prompts[text]
            self._cache.move_to_end(key)
        while sum(prompt.embeds.shape[1] for prompt in self._cache.values()) > CACHED_TOKENS:
            self._cache.popitem(last=False)
        return prompts

    def encode_each(
        self, wanted: Sequence[tuple[Collection[str], LoraSet]]
    ) -> list[dict[str, EncodedPrompt]]:
        """``encode`` for several requests: in one batch, but for those whose LoRAs change the text
        encoder otherwise."""
        keys = [loras.key(self._component) for _, loras in wanted]
        sets = dict(zip(keys, (loras for _, loras in wanted), strict=True))
        encoded = {
            key: self.encode(
                (
                    text
                    for other, (texts, _) in zip(keys, wanted, strict=True)
                    if other == key
                    for text in texts
                ),
                loras,
            )
            for key, loras in sets.items()
        }
        return [encoded[key] for key in keys]

    def _cut(self, text: str) -> _Chunks:
        fragments, clamped = parse(text)
        kept = [fragment for fragment in fragments if fragment.weight > 0]
        ids, weights, mask = (
            tensor.view(-1, self._tokenizer.model_max_length)
            for tensor in self._chunker.get_token_ids_and_expand_weights(
                [fragment.text for fragment in kept],
                [fragment.weight for fragment in kept],
                device="cpu",
            )
        )
        warnings = []
        if clamped:
            warnings.append(
                f"has weights outside 0 to {MAX_WEIGHT:g}, which count as the nearer of the two: "
                + ", ".join(clamped[:3])
                + (" and others" if len(clamped) > 3 else "")
            )
        if len(ids) > MAX_CHUNKS:
            ends = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
            tail = ids[MAX_CHUNKS:][mask[MAX_CHUNKS:] == 1].tolist()
            dropped = [token for token in tail if token not in ends]
            first = self._tokenizer.decode(dropped[:QUOTED_TOKENS]).strip()
            warnings.append(
                f"is too long: {len(dropped)} tokens, from '{first}' on, were dropped; there is "
                f"room for {MAX_CHUNKS} x {ids.shape[1] - 2}"
            )
        return _Chunks(ids[:MAX_CHUNKS], weights[:MAX_CHUNKS], mask[:MAX_CHUNKS], tuple(warnings))

    def _run(
        self, chunks: Mapping[str, _Chunks], layers: Layers
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
        """The text encoder's hidden states, ``[1, tokens, dim]``, and the pooled text, for each
        text."""
        if not chunks:
            return {}
        ids = torch.cat([each.ids for each in chunks.values()])
        mask = torch.cat([each.mask for each in chunks.values()])
        self._lora_hooks.cover(layers)
        try:
            with self._lora_hooks.applied([(slice(None), layers)]):
                outputs = [
                    self._call(*rows)
                    for rows in zip(
                        torch.split(ids, self._rows), torch.split(mask, self._rows), strict=True
                    )
                ]
        finally:
            # Other models may have the same encoder, and keep it when this one is gone.
            self._lora_hooks.cover(())
        counts = [len(each.ids) for each in chunks.values()]
        hidden = torch.split(torch.cat([each for each, _ in outputs]), counts)
        pooled: Sequence[torch.Tensor | None] = [None] * len(counts)
        if outputs[0][1] is not None:
            summaries = torch.cat([each for _, each in outputs if each is not None])
            pooled = [rows[:1].clone() for rows in torch.split(summaries, counts)]
        # Copies, as a part would keep the whole batch in memory.
        return {
            text: (part.reshape(1, -1, part.shape[2]).clone(), summary)
            for text, part, summary in zip(chunks, hidden, pooled, strict=True)
        }

    def _call(
        self, ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``[rows, 77, dim]``, and where there is a projection ``[rows, dim]``."""
        device = self._text_encoder.device
        # As in the stock pipeline: CLIP was trained without a mask over the padding.
        masked = getattr(self._text_encoder.config, "use_attention_mask", False)
        output = self._text_encoder(
            ids.to(device),
            mask.to(device) if masked else None,
            output_hidden_states=self._penultimate,
        )
        first: torch.Tensor = output[0]
        hidden = output.hidden_states[-2] if self._penultimate else first
        return hidden, first if first.ndim == 2 else None


def pad_to_longest(
    prompts: Sequence[torch.Tensor], empty: torch.Tensor, longest: int = 0
) -> torch.Tensor:
    """Stack embeddings ``[1, tokens, dim]`` as rows, the shorter ones filled up with ``empty``: to
    the tokens of the longest, or to ``longest`` if that is more."""
    tokens = max(longest, *(prompt.shape[1] for prompt in prompts))
    return torch.cat(
        [
            torch.cat([prompt, *[empty] * ((tokens - prompt.shape[1]) // empty.shape[1])], dim=1)
            for prompt in prompts
        ]
    )


def _weigh(embeds: torch.Tensor, weights: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """Move each token away from the empty text's, or towards it, as compel does."""
    if bool((weights == 1).all()):
        return embeds
    factors = weights.view(1, -1, 1).to(embeds.device)
    base = empty.repeat(1, len(weights), 1)
    moved = base + (embeds - base) * factors
    return torch.where(factors == 1, embeds, moved.to(embeds.dtype))
