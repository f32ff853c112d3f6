"""The third text encoder of Stable Diffusion 3: T5's, for whole sentences."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from engine.pipelines.prompt_syntax import parse
from engine.pipelines.prompts import EncodedPrompt

# The length that the stock pipeline pads to by default. There is no mask over the padding: it is
# part of the picture, and is never cut to what a batch needs.
TOKENS = 256
# Texts that the encoder sees at once: they are three times as long as CLIP's, and it is large.
ENCODER_ROWS = 8
# One text of T5 XXL takes 2 MB in fp16.
CACHED_BYTES = 64 * 1024 * 1024

_TOO_LONG = f"is too long for T5, the third text encoder: it sees the first {TOKENS} tokens alone"


class T5Encoder:
    """Encodes texts in batches and remembers them.

    What is written for CLIP is understood here too: weights are left out, and with weight 0 the
    words. Unlike CLIP's part, a text has one piece, and what is beyond ``TOKENS`` is dropped.

    Args:
        tokenizer: T5's, as in a Stable Diffusion 3 pipeline.
        text_encoder: likewise.
        batch_invariant: encode text by text, so that an embedding cannot depend to the last bit on
            what else is encoded.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, *, batch_invariant: bool = False) -> None:
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._rows = 1 if batch_invariant else ENCODER_ROWS
        self._cache: OrderedDict[str, EncodedPrompt] = OrderedDict()

    def encode(self, texts: Iterable[str]) -> dict[str, EncodedPrompt]:
        """Each text's embedding ``[1, TOKENS, dim]``; the new ones are made in few batches."""
        wanted = dict.fromkeys(texts)
        prompts = {text: self._cache[text] for text in wanted if text in self._cache}
        new = [text for text in wanted if text not in prompts]
        for first in range(0, len(new), self._rows):
            some = new[first : first + self._rows]
            prompts.update(zip(some, self._run(some), strict=True))
        for text in wanted:
            self._cache[text] = prompts[text]
            self._cache.move_to_end(text)
        while sum(prompt.embeds.nbytes for prompt in self._cache.values()) > CACHED_BYTES:
            self._cache.popitem(last=False)
        return prompts

    def _run(self, texts: Sequence[str]) -> list[EncodedPrompt]:
        plain = ["".join(text for text, weight in parse(each)[0] if weight > 0) for each in texts]
        tokens = self._tokenizer(
            plain,
            padding="max_length",
            max_length=TOKENS,
            truncation=True,
            return_overflowing_tokens=True,
            return_tensors=None,
        )
        # What overflows comes as rows of its own, behind each text's first one.
        owners = tokens["overflow_to_sample_mapping"]
        firsts = [owners.index(number) for number in range(len(texts))]
        ids = torch.tensor([tokens["input_ids"][first] for first in firsts])
        hidden = self._text_encoder(ids.to(self._text_encoder.device))[0]
        hidden = hidden.to(self._text_encoder.dtype)
        return [
            EncodedPrompt(
                # A copy, as a part would keep the whole batch in memory.
                embeds.clone(),
                warnings=(_TOO_LONG,) if owners.count(number) > 1 else (),
            )
            for number, embeds in enumerate(hidden.split(1))
        ]
