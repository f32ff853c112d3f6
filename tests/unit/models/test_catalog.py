from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from models.catalog import load_catalog
from models.errors import CatalogError, UnknownModel
from models.sources import DirectorySource, FileSource, HuggingFaceSource
from tests.unit.models.conftest import DEFAULTS, ROOT, write_catalog

SD3 = {**DEFAULTS, "scheduler": "euler"}


def raw(**changes: Any) -> dict[str, Any]:
    fields = {
        "name": "mine",
        "family": "sd1",
        "source": {"type": "directory", "path": "weights"},
        "defaults": DEFAULTS,
        "licence": "none",
    }
    return {**fields, **changes}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"no model 'sd-9'; known models: embedded, .*sd-1\.4, "):
        load_catalog().get("sd-9")


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_catalog().get("embedded").name = "other"  # type: ignore[misc]


def test_own_entries_follow_the_built_in_ones(tmp_path: Path) -> None:
    file = write_catalog(
        tmp_path / "own.yaml",
        raw(),
        raw(
            name="single",
            source={"type": "file", "path": "a.safetensors", "config": "~/config"},
        ),
        raw(name="hub", source={"type": "huggingface", "repo": "acme/x"}, variants=["fp16"]),
        raw(name="stored", source={"type": "bentoml", "tag": "own:v1"}),
    )
    catalog = load_catalog(file)
    assert catalog.names[-4:] == ("mine", "single", "hub", "stored")
    source = catalog.get("mine").source
    assert isinstance(source, DirectorySource)
    assert source.path == tmp_path / "weights"
    source = catalog.get("single").source
    assert isinstance(source, FileSource)
    assert source.path == tmp_path / "a.safetensors"
    assert source.config == Path.home() / "config"
    source = catalog.get("hub").source
    assert isinstance(source, HuggingFaceSource)
    assert source.revision == "main"
    assert catalog.get("hub").variants == ("fp16",)
    assert catalog.get("mine").defaults.strength == 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "sd9"}, "field 'family': Input should be 'sd1', 'sd2', 'sdxl' or 'sd3'"),
        ({"colour": "red"}, "field 'colour': Extra inputs are not permitted"),
        ({"source": {"type": "huggingface"}}, "field 'source.repo': Field required"),
        (
            {"source": {"type": "huggingface", "repo": "no-owner"}},
            "field 'source.repo': String should match pattern",
        ),
        ({"source": {"type": "ftp"}}, "field 'source': Input tag 'ftp' found"),
        (
            {"source": {"type": "file", "path": "x.ckpt", "config": "c"}},
            "field 'source': path must name a .safetensors file, got 'x.ckpt'",
        ),
        (
            {"source": {"type": "file", "path": "x.safetensors"}},
            "field 'source.config': Field required",
        ),
        ({"variants": []}, "field 'variants': Tuple should have at least 1 item"),
        ({"variants": ["int8"]}, "field 'variants.0': Input should be 'fp32' or 'fp16'"),
        (
            {"defaults": {**DEFAULTS, "width": 100}},
            "field 'defaults.width': Input should be a multiple of 8",
        ),
        (
            {"defaults": {**DEFAULTS, "scheduler": "magic"}},
            "field 'defaults.scheduler': Input should be 'ddim'",
        ),
        (
            {"text_encoders": ["clip_l", "clip_g"]},
            "text_encoders: a model of the family sd1 has no choice",
        ),
        (
            {"family": "sd3", "defaults": SD3, "text_encoders": ["clip_l", "t5"]},
            "text_encoders must name clip_g and clip_l for a model of the family sd3, and lacks "
            "clip_g",
        ),
        (
            {"defaults": {**DEFAULTS, "skip_layers": [1]}},
            "defaults.skip_layers: a model of the family sd1 has no such layers",
        ),
        (
            {"family": "sd3", "defaults": {**SD3, "skip_layers": [-1]}},
            "field 'defaults.skip_layers.0': Input should be greater than or equal to 0",
        ),
        (
            {"family": "sd3", "defaults": {**DEFAULTS, "scheduler": "ddim"}},
            "defaults.scheduler must be one of euler, heun for a model of the family sd3, got "
            "'ddim'",
        ),
        ({"refiner": "sdxl-refiner"}, "refiner must be absent for a model of the family sd1"),
        (
            {"family": "sdxl", "tasks": ["inpaint"], "refiner": "sdxl-refiner"},
            "refiner must be absent for a model of the family sdxl with the tasks inpaint",
        ),
        (
            {"family": "sdxl", "refiner": "sdxl-base"},
            "field 'refiner': there is no refiner 'sdxl-base' of the family sdxl",
        ),
        (
            {"defaults": {**DEFAULTS, "num_inference_steps": 0}},
            "field 'defaults.num_inference_steps': Input should be greater than or equal to 1",
        ),
    ],
)
def test_an_error_names_file_entry_and_field(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = write_catalog(tmp_path / "own.yaml", raw(**changes))
    with pytest.raises(CatalogError) as caught:
        load_catalog(file)
    assert str(caught.value).startswith(f"{file}: entry 'mine': ")
    assert message in str(caught.value)


def test_every_wrong_field_is_named(tmp_path: Path) -> None:
    file = write_catalog(tmp_path / "own.yaml", raw(family="x", licence=""))
    with pytest.raises(CatalogError, match=r"field 'family': .*; field 'licence': "):
        load_catalog(file)


@pytest.mark.parametrize("entry", ["just text", {"family": "sd1"}])
def test_an_entry_without_a_name_is_named_by_its_position(tmp_path: Path, entry: object) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"models": [raw(), entry]}))
    with pytest.raises(CatalogError, match=r"own\.yaml: entry number 2: "):
        load_catalog(file)


@pytest.mark.parametrize("names", [("mine", "mine"), ("embedded",)])
def test_a_taken_name_is_an_error(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = write_catalog(tmp_path / "own.yaml", *(raw(name=name) for name in names))
    with pytest.raises(CatalogError, match=f"entry '{names[0]}': the name is already taken"):
        load_catalog(file)


@pytest.mark.parametrize("name", ["Upper", "with space", "-dash", "a" * 49, "../up", ""])
def test_a_name_must_make_a_tag(tmp_path: Path, name: str) -> None:
    file = write_catalog(tmp_path / "own.yaml", raw(name=name))
    with pytest.raises(CatalogError, match="field 'name'"):
        load_catalog(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"models: [", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"", "must be a mapping with the single key 'models'"),
        (b"models: []\nother: 1", "must be a mapping with the single key 'models'"),
        (b"models: {a: 1}", "'models' must be a list"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_bytes(content)
    with pytest.raises(CatalogError, match=message) as caught:
        load_catalog(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.yaml: cannot be read: No such file"):
        load_catalog(tmp_path / "none.yaml")


def test_screening(tmp_path: Path) -> None:
    """A bare off is false to YAML."""
    file = write_catalog(tmp_path / "own.yaml", raw(screening={"blank": "flag", "nsfw": False}))
    assert "nsfw: false" in file.read_text()
    assert load_catalog(file).get("mine").screening == {"blank": "flag", "nsfw": "off"}


@pytest.mark.parametrize(
    ("screening", "message"),
    [
        ({"nude": "flag"}, "field 'screening.nude.[key]': Input should be 'grayscale', 'blank'"),
        ({"nsfw": True}, "field 'screening.nsfw': Input should be 'off', 'flag', 'blur' or"),
    ],
)
def test_unknown_screening_is_an_error(
    tmp_path: Path, screening: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatalogError) as error:
        load_catalog(write_catalog(tmp_path / "own.yaml", raw(screening=screening)))
    assert message in str(error.value)


def test_the_catalog_is_light() -> None:
    code = (
        "import sys, models.catalog; models.catalog.load_catalog();"
        "print({'torch', 'diffusers', 'transformers', 'bentoml', 'huggingface_hub'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_text_encoders_that_are_left_out(tmp_path: Path) -> None:
    entries = (
        raw(name="whole", family="sd3", defaults=SD3),
        raw(name="small", family="sd3", defaults=SD3, text_encoders=["clip_l", "clip_g"]),
    )
    catalog = load_catalog(write_catalog(tmp_path / "catalog.yaml", *entries))
    whole, small = catalog.get("whole"), catalog.get("small")
    assert whole.skipped_components == frozenset()
    assert small.skipped_components == {"text_encoder_3", "tokenizer_3"}
    assert whole.with_text_encoders(None) == whole
    assert whole.with_text_encoders(("clip_l", "clip_g")).skipped_components == (
        small.skipped_components
    )
    assert small.with_text_encoders(("clip_l", "clip_g", "t5")).skipped_components == frozenset()
    with pytest.raises(CatalogError, match="whole: text_encoders must name clip_g and clip_l for"):
        whole.with_text_encoders(("clip_l",))
    embedded = catalog.get("embedded")
    assert embedded.with_text_encoders(("clip_l", "clip_g")) == embedded
