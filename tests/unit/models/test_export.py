"""A model written as a bare folder, and read again as KServe would mount it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models import registry
from models.__main__ import main
from models.catalog import BUILT_IN, load_catalog
from models.export import Folder, export, pipeline_files
from models.export_note import NOTE
from models.finetuned import Provenance
from models.mounted import read_mounted
from tests.unit.models.test_mounted import lora, pipeline

EMBEDDED = BUILT_IN.parent / "embedded"
CATALOG = load_catalog()


class Recorder(Folder):
    """A folder that counts what is written to it, and breaks off after so many files."""

    def __init__(self, folder: Path, files: int = 1000) -> None:
        super().__init__(folder)
        self.written: list[str] = []
        self._left = files

    def write(self, name: str, chunks: Iterator[bytes], sha256: str) -> None:
        if not self._left:
            next(chunks)
            raise KeyboardInterrupt
        self._left -= 1
        super().write(name, chunks, sha256)
        self.written.append(name)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_exported_is_served_alike(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", "embedded", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"embedded is in {out}, ")

    exported = contents(out)
    del exported[NOTE]
    source = contents(EMBEDDED)
    assert exported.items() <= source.items()
    assert {"model_index.json", "unet/config.json"} <= set(exported)
    (entry,) = read_mounted(out, None).entries
    original = CATALOG.get("embedded")
    kept = {"family", "tasks", "defaults", "licence", "description", "name"}
    assert entry.model_dump(include=kept) == original.model_dump(include=kept)


def test_a_lora(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clay"
    folder.mkdir()
    lora(folder / "pytorch_lora_weights.safetensors")
    provenance = Provenance(base="embedded", base_revision="1", subject_token="sks", licence="mine")
    registry.register("clay", "lora", folder, provenance, CATALOG)
    out = tmp_path / "out"
    assert main(["export", "clay", str(out)]) == 0

    (found,) = read_mounted(out, None, [CATALOG.get("embedded")]).loras
    assert (found.name, found.provenance) == ("clay", provenance)


def test_an_export_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        export(CATALOG, "embedded", "fp32", Recorder(tmp_path, files=3), "there")
    assert not (tmp_path / NOTE).exists()
    first = contents(tmp_path)
    damaged = min(first)
    (tmp_path / damaged).write_bytes(bytes(len(first[damaged])))

    again = Recorder(tmp_path)
    export(CATALOG, "embedded", "fp32", again, "there")
    assert len(set(first) & set(again.written)) == 1
    assert damaged in again.written
    assert again.written[-1] == NOTE
    whole = Recorder(tmp_path)
    export(CATALOG, "embedded", "fp32", whole, "there")
    assert whole.written == [NOTE]


def test_other_files_are_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.fp16.safetensors").touch()

    assert main(["export", "embedded", str(tmp_path)]) == 1
    assert "has other files, such as unet/model.fp16.safetensors" in capsys.readouterr().err


def test_one_variant_of_the_weights(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "models")
    unet = folder / "unet"
    weights = unet / "diffusion_pytorch_model.safetensors"
    (unet / "diffusion_pytorch_model.fp16.safetensors").write_bytes(weights.read_bytes())
    (unet / "diffusion_pytorch_model.bin").touch()
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "model.safetensors").write_bytes(weights.read_bytes())
    (folder / "README.md").touch()

    encoder = "text_encoder/model.safetensors"
    common = {"model_index.json", "unet/config.json", encoder}
    assert set(pipeline_files(folder, "fp32")) == common | {f"unet/{weights.name}"}
    fp16 = "unet/diffusion_pytorch_model.fp16.safetensors"
    assert set(pipeline_files(folder, "fp16")) == common | {fp16}


def test_unknown_models(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "nothing", str(tmp_path / "out")]) == 1
    assert "There is no model 'nothing'" in capsys.readouterr().err
    assert main(["export", "sd-1.5", str(tmp_path / "out")]) == 1
    assert "python -m models pull sd-1.5" in capsys.readouterr().err
