"""``python -m models register``, and what ``list`` and ``remove`` say afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.__main__ import main
from models.catalog import BUILT_IN
from models.lora import LORA_FILE
from models.registry import finetuned
from models.store import staging_root
from tests.loras import save_lora
from tests.unit.models.conftest import ROOT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A file of another name, as they are found."""
    file = tmp_path / "Found it! (v2).safetensors"
    return (save_lora(tmp_path / "made") / LORA_FILE).rename(file)


def test_a_lora_is_registered_listed_and_removed(store: Path, run: Run, lora: Path) -> None:
    details = ("--token", "unqtkn", "--class-name", "clay figure", "--licence", "CC0-1.0")
    status, out, err = run(
        *("register", "clay", "--lora", str(lora), "--base", "embedded", *details),
        *("--description", "Of clay"),
    )
    (model,) = finetuned()
    assert (status, err) == (0, "")
    assert out == f"clay is in the BentoML model store as {model.tag} ({model.path}).\n"
    assert (model.path / LORA_FILE).read_bytes() == lora.read_bytes()
    provenance = model.provenance
    assert (provenance.base, provenance.subject_token) == ("embedded", "unqtkn")
    assert (provenance.class_name, provenance.licence) == ("clay figure", "CC0-1.0")
    assert len(provenance.base_revision) == 12

    status, out, _ = run("list", "--json")
    assert status == 0
    assert json.loads(out)["fine_tuned"] == [
        {
            "name": "clay",
            "kind": "lora",
            "base": "embedded",
            "subject_token": "unqtkn",
            "size": model.size,
            "licence": "CC0-1.0",
            "created": provenance.created.isoformat(timespec="seconds"),
        }
    ]
    status, out, _ = run("list")
    head, line = out.splitlines()[-2:]
    assert head.split() == ["FINE-TUNED", "KIND", "BASE", "TOKEN", "SIZE", "LICENCE"]
    assert line.split()[:4] == ["clay", "lora", "embedded", "unqtkn"]

    assert run("remove", "clay", "--precision", "fp32")[0] == 1
    status, out, err = run("remove", "clay")
    assert (status, err) == (0, "")
    assert out.startswith("clay is removed; 0.")
    assert finetuned() == ()


def test_a_pipeline_is_copied(store: Path, run: Run, tmp_path: Path) -> None:
    embedded = BUILT_IN.parent / "embedded"
    status, _, err = run("register", "tuned", "--pipeline", str(embedded), "--base", "embedded")

    assert (status, err) == (0, "")
    (model,) = finetuned()
    assert model.kind == "full"
    assert (embedded / "model_index.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embedded", "--lora", "LORA", "--base", "embedded"), "The name 'embedded' is taken"),
        (("auto", "--lora", "LORA", "--base", "embedded"), "The name 'auto' is taken"),
        (("Clay", "--lora", "LORA", "--base", "embedded"), "'Clay' is no name for a model"),
        (("clay", "--lora", "LORA", "--base", "sd-9"), "There is no model 'sd-9'"),
        (("clay", "--lora", "none.safetensors", "--base", "embedded"), "none.safetensors does not"),
        (("clay", "--lora", "README.md", "--base", "embedded"), "README.md is not a .safetensors"),
        (("clay", "--lora", "OTHER", "--base", "embedded"), "takes text of 768 channels"),
        (("clay", "--pipeline", "none", "--base", "embedded"), "none is no folder"),
        (("clay", "--pipeline", "docs", "--base", "embedded"), "is not a diffusers pipeline"),
        (
            ("clay", "--lora", "LORA", "--base", "embedded", "--token", "two words"),
            "subject_token 'two words'",
        ),
    ],
)
def test_refusals_are_a_sentence(
    store: Path,
    tmp_path: Path,
    lora: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(ROOT)
    other = tmp_path / "other.safetensors"
    shapes = {"down": (4, 768), "up": (32, 4)}
    layer = "lora_unet_down_blocks_0_attn2_to_k.lora_{}.weight"
    save_file({layer.format(side): np.zeros(shapes[side], "f") for side in shapes}, other)
    files = {"LORA": str(lora), "OTHER": str(other)}
    capsys.readouterr()
    status = main(["register", *(files.get(one, one) for one in arguments)])

    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert finetuned() == ()
    assert {path.name for path in staging_root().iterdir()} <= {"registry.lock"}
