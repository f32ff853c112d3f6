"""Quantised weights: what they take, how far pictures are from full precision, and rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from contract.request import LoraUse
from engine.pipelines.load import MODELS
from models.budget import model_bytes
from models.catalog import ModelEntry
from models.loading import load_pipeline
from models.quantization import SCHEMES, Scheme, is_linear, missing_package
from models.quantized_layers import module_bytes
from tests.conftest import make_request
from tests.unit.engine.lora.lora_files import write_diffusers
from tests.unit.engine.reference import prepare
from tests.unit.models import tiny
from tests.unit.models.conftest import stored_entry


def installed(scheme: Scheme) -> Any:
    package = missing_package(scheme)
    reason = f"{package} is not installed (requirements-quantize.txt)"
    return pytest.param(scheme, marks=pytest.mark.skipif(package is not None, reason=reason))


schemes = pytest.mark.parametrize("scheme", [installed(each) for each in SCHEMES])


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    folder = tmp_path_factory.mktemp("sd3")
    tiny.sd3(t5=True).save_pretrained(folder)
    return stored_entry(folder, family="sd3")


def load(entry: ModelEntry, dtype: torch.dtype = torch.float32) -> Any:
    location = Path(entry.source.path)  # type: ignore[union-attr]
    return load_pipeline(entry, location=location, dtype=dtype, device="cpu")


@schemes
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, "fp32"), (torch.bfloat16, "bf16")]
)
def test_it_takes_what_the_headers_say(
    entry: ModelEntry, scheme: Scheme, dtype: torch.dtype, precision: str
) -> None:
    quantized = entry.with_quantization({"denoiser": scheme, "t5": scheme})
    pipeline = load(quantized, dtype)
    expected = model_bytes(quantized, precision)
    whole = model_bytes(entry, precision)
    for name in ("transformer", "text_encoder_3", "text_encoder", "vae"):
        assert module_bytes(getattr(pipeline, name)) == pytest.approx(expected[name], rel=0.02)
    assert expected["transformer"] < 0.8 * whole["transformer"]
    assert expected["text_encoder_3"] < whole["text_encoder_3"]
    assert expected["text_encoder"] == whole["text_encoder"]


def test_tables_are_not_linear() -> None:
    assert is_linear("transformer_blocks.0.attn.to_q.weight", (8, 8))
    for name in (
        "text_model.embeddings.token_embedding.weight",
        "shared.weight",
        "encoder.embed_tokens.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    ):
        assert not is_linear(name, (8, 8))
    assert not is_linear("conv_in.weight", (8, 4, 3, 3))
    assert not is_linear("norm.weight", (8,))


@schemes
def test_pictures_are_near_and_rows_independent_of_their_neighbours(
    entry: ModelEntry, scheme: Scheme, tmp_path: Path
) -> None:
    """With a LoRA on layers that are quantised too."""
    write_diffusers(tmp_path, tiny.sd3(), unet=(), transformer=("to_q", "to_out.0"))
    requests = [
        make_request(scheduler="euler", seed=seed, prompt="a cat", loras=(LoraUse("l:1", 1.0),) * n)
        for seed, n in enumerate((0, 1, 0))
    ]

    def predictions(pipeline: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        model = MODELS["sd3"](pipeline, invariant=True)
        with torch.inference_mode():
            states = prepare(model, requests, {"l:1": model.load_adapter(tmp_path)})
            mixed = model.forward(states, sum(state.rows for state in states))
            # As many rows, of which all but its own are padding.
            alone = [model.forward([state], 6)[0] for state in states]
        return mixed, alone

    exact, _ = predictions(load(entry))
    mixed, alone = predictions(load(entry.with_quantization({"denoiser": scheme, "t5": scheme})))
    for one, other, before in zip(mixed, alone, exact, strict=True):
        scale = before.norm()
        assert (one - other).norm() < 1e-5 * scale
        assert 0 < (one - before).norm() < 0.3 * scale
    assert (exact[0] - exact[1]).norm() > 0
