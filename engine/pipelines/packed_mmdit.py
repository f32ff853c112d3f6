"""A pass of the MMDiT over pictures of different sizes: their tokens behind one another.

What looks at one token at a time (norms, projections, feed-forward layers) is computed for all of
them together, and attention for the pictures of each size. So nothing is masked or padded, and what
is computed for a picture is what is computed for it alone. The texts are of one length: their
tokens stay in rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional

from engine.denoising.conditioning import Conditioning
from engine.pipelines.joint_attention import last_token_bias, picture_heads, text_heads
from engine.pipelines.skipped_layers import Skipped


@dataclass(frozen=True)
class Packing:
    """Where the image tokens of each row are.

    Attributes:
        sizes: rows, and tokens of each, for every size.
    """

    sizes: tuple[tuple[int, int], ...]

    @cached_property
    def tokens(self) -> tuple[slice, ...]:
        """The tokens of each row."""
        counts = [tokens for rows, tokens in self.sizes for _ in range(rows)]
        starts = [sum(counts[:row]) for row in range(len(counts))]
        return tuple(
            slice(start, start + count) for start, count in zip(starts, counts, strict=True)
        )

    def by_size(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """Views ``[rows, tokens, ...]`` of ``[all tokens, ...]``."""
        parts = torch.split(packed, [rows * tokens for rows, tokens in self.sizes])
        return [
            torch.unflatten(part, 0, size) for part, size in zip(parts, self.sizes, strict=True)
        ]

    def rows_by_size(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Views ``[rows, ...]`` of ``[all rows, ...]``."""
        return torch.split(rows, [count for count, _ in self.sizes])

    def modulated(
        self, packed: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        """Each token scaled and shifted as its row says, ``[all rows, channels]``."""
        result = torch.empty_like(packed)
        parts = zip(
            self.by_size(result),
            self.by_size(packed),
            self.rows_by_size(shift[:, None]),
            self.rows_by_size(1 + scale[:, None]),
            strict=True,
        )
        for part, tokens, shifts, scales in parts:
            torch.addcmul(shifts, tokens, scales, out=part)
        return result

    def add_gated(self, packed: torch.Tensor, gate: torch.Tensor, added: torch.Tensor) -> None:
        """Add something to the tokens, in place, as much of it as each one's row says."""
        parts = zip(
            self.by_size(packed),
            self.by_size(added),
            self.rows_by_size(gate[:, None]),
            strict=True,
        )
        for part, tokens, gates in parts:
            part.addcmul_(tokens, gates)


class PackedMMDiT:
    """Implements ``PackedDenoiser`` with the layers of a transformer; keeps nothing of its own.

    Args:
        transformer: a ``diffusers.SD3Transformer2DModel``.
        last_token: how many equal text tokens the last one stands for.
    """

    def __init__(self, transformer: Any, *, last_token: int = 1) -> None:
        self._transformer = transformer
        self._last_token = last_token
        self._patch: int = transformer.config.patch_size

    def packs(self, path: str) -> bool:
        if path.startswith("transformer_blocks."):
            _, _, part, *layer = path.split(".")
            # The projections of the text are called add_q_proj and the like, and to_add_out.
            of_text = part == "attn" and "add" in layer[0]
            return part in ("attn", "attn2", "ff") and not of_text
        return path in ("pos_embed.proj", "proj_out")

    def packing(self, latents: Sequence[torch.Tensor]) -> Packing:
        area = self._patch**2
        return Packing(tuple((len(each), each[0, 0].numel() // area) for each in latents))

    def predict(
        self,
        latents: Sequence[torch.Tensor],
        times: torch.Tensor,
        conditioning: Conditioning,
        skipped: Skipped,
    ) -> list[torch.Tensor]:
        model, packing = self._transformer, self.packing(latents)
        image = self._embedded(latents)
        modulation = model.time_text_embed(times, conditioning.tensors["pooled_projections"])
        text = model.context_embedder(conditioning.tensors["encoder_hidden_states"])
        for number, block in enumerate(model.transformer_blocks):
            rows = skipped.get(number, ())
            kept = [image[packing.tokens[row]].clone() for row in rows]
            following = _block(block, packing, image, text, modulation, self._last_token)
            for row, tokens in zip(rows, kept, strict=True):
                image[packing.tokens[row]] = tokens
                if following is not None:
                    following[row] = text[row]
            text = following
        norm = model.norm_out
        scale, shift = norm.linear(norm.silu(modulation).to(image.dtype)).chunk(2, dim=1)
        output = model.proj_out(packing.modulated(norm.norm(image), shift, scale))
        return [
            self._unpatched(tokens, each.shape[2:])
            for tokens, each in zip(packing.by_size(output), latents, strict=True)
        ]

    def _unpatched(self, tokens: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
        """Latents of these sides out of rows of tokens."""
        # Of a patch the channels come last, and first in what is shuffled.
        by_channel = torch.unflatten(tokens, 2, (-1, self._transformer.out_channels))
        columns = by_channel.transpose(2, 3).flatten(2).transpose(1, 2)
        patches = torch.unflatten(columns, 2, [side // self._patch for side in sides])
        return functional.pixel_shuffle(patches, self._patch)

    def _embedded(self, latents: Sequence[torch.Tensor]) -> torch.Tensor:
        """The patches of all latents as tokens, with what says where in its picture each one is."""
        embed = self._transformer.pos_embed
        patches, positions = [], []
        for each in latents:
            columns = functional.pixel_unshuffle(each, self._patch).flatten(2).transpose(1, 2)
            patches.append(columns.flatten(0, 1))
            cropped = embed.cropped_pos_embed(*each.shape[2:])
            positions.append(cropped.expand(len(each), -1, -1).flatten(0, 1))
        # The patches do not overlap: each is a picture of one patch to the convolution.
        packed = torch.unflatten(torch.cat(patches), 1, (-1, self._patch, self._patch))
        tokens: torch.Tensor = embed.proj(packed).flatten(1)
        return (tokens + torch.cat(positions)).to(tokens.dtype)


def _block(
    block: Any,
    packing: Packing,
    image: torch.Tensor,
    text: torch.Tensor,
    modulation: torch.Tensor,
    last_token: int,
) -> torch.Tensor | None:
    """What ``JointTransformerBlock`` does: changes the image tokens in place, and returns those of
    the text, which the last block has no use for."""
    norm = block.norm1
    parts = norm.linear(norm.silu(modulation)).chunk(9 if block.use_dual_attention else 6, dim=1)
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts[:6]
    normed = norm.norm(image)
    if block.context_pre_only:
        normed_text = block.norm1_context(text, modulation)
    else:
        normed_text, *of_text = block.norm1_context(text, emb=modulation)
    attended, attended_text = _attention(
        block.attn, packing, packing.modulated(normed, shift, scale), normed_text, last_token
    )
    packing.add_gated(image, gate, attended)
    if block.use_dual_attention:
        shift, scale, gate = parts[6:]
        own = packing.modulated(normed, shift, scale)
        packing.add_gated(image, gate, _attention(block.attn2, packing, own)[0])
    hidden = block.ff(packing.modulated(block.norm2(image), shift_mlp, scale_mlp))
    packing.add_gated(image, gate_mlp, hidden)
    if attended_text is None:
        return None
    gate, shift_mlp, scale_mlp, gate_mlp = (each[:, None] for each in of_text)
    text = text + gate * attended_text
    hidden = block.ff_context(block.norm2_context(text) * (1 + scale_mlp) + shift_mlp)
    result: torch.Tensor = text + gate_mlp * hidden
    return result


def _attention(
    attention: Any,
    packing: Packing,
    image: torch.Tensor,
    text: torch.Tensor | None = None,
    last_token: int = 1,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What ``JointAttnProcessor2_0`` or ``RepeatedLastToken`` does, for the rows of each size; None
    for text that there is no use for."""
    packed = [packing.by_size(each) for each in picture_heads(attention, image)]
    if text is not None:
        of_text = [packing.rows_by_size(each) for each in text_heads(attention, text)]
        packed = [
            [torch.cat(pair, dim=1) for pair in zip(*both, strict=True)]
            for both in zip(packed, of_text, strict=True)
        ]
    attended, attended_text = [], []
    for (_, tokens), *heads in zip(packing.sizes, *packed, strict=True):
        query, key, value = (each.transpose(1, 2) for each in heads)
        bias = last_token_bias(last_token, key.shape[2], key) if last_token > 1 else None
        output = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        output = output.transpose(1, 2).flatten(2)
        attended.append(output[:, :tokens].flatten(0, 1))
        attended_text.append(output[:, tokens:])
    result = attention.to_out[1](attention.to_out[0](torch.cat(attended)))
    if text is None or attention.context_pre_only:
        return result, None
    return result, attention.to_add_out(torch.cat(attended_text))
