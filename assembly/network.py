"""The classifier's network, in the process that scores pictures."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch
from transformers import ViTForImageClassification

from models.errors import LoadError
from models.vit import ViT

logger = logging.getLogger(__name__)


class ClassifierNetwork:
    """Scores batches of pictures on one CPU thread, in fp32.

    One thread, as the diffusion engine needs the others more.

    Raises:
        LoadError: the weights do not make a network.
    """

    def __init__(self, vit: ViT) -> None:
        torch.set_num_threads(1)
        try:
            network, found = ViTForImageClassification.from_pretrained(
                vit.folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise LoadError(f"{vit.folder}: the classifier cannot be loaded: {error}") from error
        if found["missing_keys"]:
            # transformers would put random weights in their place.
            raise LoadError(f"{vit.folder}: weights are missing: {sorted(found['missing_keys'])}")
        self._network = network.eval()
        self._factor = vit.factor
        self._mean = torch.tensor(vit.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(vit.std).view(1, 3, 1, 1)
        self._labels = len(vit.labels)

    def scores(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities of shape [n, labels] for RGB pictures of shape [n, height, width, 3].

        Raises nothing, as BentoML would let the callers hang: a batch that fails is rows of NaN.
        """
        try:
            with torch.inference_mode():
                values = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float()
                values = (values * self._factor - self._mean) / self._std
                logits = self._network(pixel_values=values).logits
                return np.asarray(logits.softmax(dim=-1).numpy(), dtype=np.float32)
        except Exception:
            logger.exception("a batch of %d classifications failed", len(pixels))
            return np.full((len(pixels), self._labels), np.nan, dtype=np.float32)
