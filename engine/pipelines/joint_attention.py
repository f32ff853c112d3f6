"""Attention of an MMDiT in which one text token stands for many that are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention


class RepeatedLastToken:
    """What ``JointAttnProcessor2_0`` of diffusers computes, with the last text token ``times``
    over.

    Text tokens have no positions: where many have the same value, they have it in every layer. One
    of them is enough then, if its key weighs as much as all of theirs: softmax sums exponentials,
    so that the logarithm of their number is added to its score.

    Args:
        times: how often the last text token counts, >= 1.
    """

    def __init__(self, times: int) -> None:
        self._times = times

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Carry out one attention: of picture and text, or of the picture alone.

        Args:
            attn: the layer, a ``diffusers.models.attention_processor.Attention``.
            hidden_states: of the picture, ``[rows, tokens, channels]``.
            encoder_hidden_states: likewise of the text; None for the picture alone.
            attention_mask: none is supported; diffusers gives none.

        Returns:
            Both parts in the same shapes; the picture's where it is alone.
        """
        parts = [picture_heads(attn, hidden_states)]
        bias = None
        if encoder_hidden_states is not None:
            parts.append(text_heads(attn, encoder_hidden_states))
            tokens = hidden_states.shape[1] + encoder_hidden_states.shape[1]
            bias = last_token_bias(self._times, tokens, hidden_states)
        query, key, value = (
            torch.cat(each, dim=1).transpose(1, 2) for each in zip(*parts, strict=True)
        )
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(2)
        pixels = hidden_states.shape[1]
        picture: torch.Tensor = attn.to_out[1](attn.to_out[0](mixed[:, :pixels]))
        if encoder_hidden_states is None:
            return picture
        text = mixed[:, pixels:]
        return picture, text if attn.context_pre_only else attn.to_add_out(text)


def last_token_bias(times: int, tokens: int, like: torch.Tensor) -> torch.Tensor:
    """What is added to the scores of ``tokens`` keys so that the last one counts ``times`` over,
    ``[1, 1, 1, tokens]``."""
    bias = like.new_zeros((1, 1, 1, tokens))
    bias[..., -1] = math.log(times)
    return bias


def picture_heads(attn: Any, states: torch.Tensor) -> list[torch.Tensor]:
    """Queries, keys and values of picture tokens.

    Args:
        attn: see ``RepeatedLastToken``.
        states: ``[..., channels]``.

    Returns:
        ``[..., heads, channels of a head]`` each.
    """
    projections = (attn.to_q, attn.to_k, attn.to_v)
    return _heads(attn.heads, states, projections, (attn.norm_q, attn.norm_k, None))


def text_heads(attn: Any, states: torch.Tensor) -> list[torch.Tensor]:
    """The same of text tokens."""
    projections = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    return _heads(attn.heads, states, projections, (attn.norm_added_q, attn.norm_added_k, None))


def _heads(
    heads: int, states: torch.Tensor, projections: Sequence[Any], norms: Sequence[Any]
) -> list[torch.Tensor]:
    projected = [torch.unflatten(each(states), -1, (heads, -1)) for each in projections]
    return [
        each if norm is None else norm(each) for each, norm in zip(projected, norms, strict=True)
    ]
