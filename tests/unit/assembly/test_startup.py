from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from assembly import startup
from models import registry
from models.catalog import load_catalog
from models.finetuned import Provenance
from models.placement import Placement
from models.store import resolve
from settings import Settings
from templating.wildcards import NO_WILDCARDS
from tests.unit.models.test_mounted import lora

EMBEDDED = (load_catalog().get("embedded"),)
CPU = Placement("cpu", "fp32")
GPU = Placement("cuda", "fp16")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"SD_MAX_QUEUE": "none"},
            "cannot start: SD_MAX_QUEUE=none: Input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            {"SD_MAX_QUEUE": "2", "SD_MAX_IMAGES": "3"},
            "cannot start: max_images (3) must not exceed max_queue (2)",
        ),
        (
            {"SD_MAX_BODY_BYTES": "4096", "SD_MAX_BODIES_BYTES": "2048"},
            "cannot start: max_bodies_bytes (2048) must not be below max_body_bytes (4096)",
        ),
        (
            {"SD_MAX_QUEUE_PER_CLIENT": "4"},
            "cannot start: max_queue_per_client (4) must be at least max_images (8) and at most "
            "max_queue (64)",
        ),
        (
            {"SD_MIXED_SIZES": "true", "SD_INVARIANT": "true"},
            "cannot start: mixed_sizes cannot be combined with invariant, which needs passes of "
            "few shapes",
        ),
        (
            {"SD_MIXED_SIZES": "true", "SD_COMPILE": "inductor"},
            "cannot start: mixed_sizes cannot be combined with compile=inductor, which needs "
            "passes of few shapes",
        ),
        (
            {"SD_MODEL_ALIASES": "gpt-image-1"},
            "cannot start: SD_MODEL_ALIASES=gpt-image-1: must be pairs such as name=value, "
            "comma-separated",
        ),
        (
            {"SD_MODEL_ALIASES": "a=b, a=c"},
            "cannot start: SD_MODEL_ALIASES=a=b, a=c: must have each name once",
        ),
        (
            {"SD_MODELS": "sd-1.5", "SD_MODEL_ALIASES": "a=b,sd-1.5=c"},
            "cannot start: model_aliases names 'sd-1.5', which is one of models itself",
        ),
        (
            {"SD_TRUSTED_PROXIES": "10.0.0.1/16"},
            "cannot start: SD_TRUSTED_PROXIES=10.0.0.1/16: 10.0.0.1/16 has host bits set",
        ),
        (
            {"SD_TRUSTED_PROXIES": "*"},
            "cannot start: SD_TRUSTED_PROXIES=*: '*' does not appear to be an IPv4 or IPv6 network",
        ),
    ],
)
def test_mistakes_in_the_settings_are_one_line(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended, startup.explained():
        Settings()
    assert str(ended.value) == sentence


def test_a_host_may_have_another_exception_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD_MODELS", "")
    with (
        pytest.raises(RuntimeError, match="cannot start: SD_MODELS"),
        startup.explained(RuntimeError),
    ):
        Settings()


def test_an_unknown_label_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD_NSFW_LABELS", "FACE_MALE,KNEE_EXPOSED")
    with pytest.raises(SystemExit) as ended, startup.explained():
        Settings()
    assert "SD_NSFW_LABELS=KNEE_EXPOSED: Input should be 'FEMALE_G" in str(ended.value)


def test_wildcards_are_read_at_the_start(tmp_path: Path) -> None:
    assert startup.load_wildcards(Settings()) is NO_WILDCARDS
    (tmp_path / "colour.txt").write_text("red\n")
    wildcards = startup.load_wildcards(Settings(wildcards=tmp_path))
    assert wildcards.get("colour").string_values == ["red"]


def test_unusable_wildcards_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.load_wildcards(Settings(wildcards=tmp_path / "none"))
    folder = tmp_path / "none"
    assert str(ended.value) == f"cannot start: SD_WILDCARDS={folder}: {folder} is no folder"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "embedded"),
        ({"classifier": "none"}, None),
        ({"classifier": "models/classifier"}, "classifier"),
        ({"classifier": "elsewhere", "build_only": True}, "embedded"),
        ({"classifier": "none", "build_only": True}, None),
    ],
)
def test_the_classifier_is_found(options: dict[str, Any], name: str | None) -> None:
    vit = startup.find_classifier(Settings(**options))
    assert (vit and vit.name) == name


def test_a_folder_without_a_classifier_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop, startup.explained():
        startup.find_classifier(Settings(classifier=str(tmp_path)))
    assert str(stop.value) == (
        f"cannot start: SD_CLASSIFIER={tmp_path}: {tmp_path} is not the folder of an image "
        "classifier: it has no config.json."
    )


def test_fine_tuned_models_are_found_in_a_folder_with_a_store(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(resolve(EMBEDDED[0], "fp32"), copy)
    provenance = Provenance(base="embedded", base_revision="1", licence="mine")
    pipeline = registry.register("clay", "full", copy, provenance, load_catalog())
    mounted = tmp_path / "mounted"
    (store / "models").rename(mounted)
    (store / "models").mkdir()
    assert "clay" not in startup.load_models(Settings())
    monkeypatch.setenv("SD_MODEL_SOURCE", str(mounted))

    entry = startup.load_models(Settings()).get("clay")
    assert resolve(entry, "fp32") == mounted / "clay" / pipeline.path.name
    assert [model.name for model in registry.finetuned()] == ["clay"]


def test_a_folder_with_models_says_what_is_served(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "base").symlink_to(resolve(EMBEDDED[0], "fp32"))
    lora(folder / "Clay.safetensors")
    monkeypatch.setenv("SD_MODEL_SOURCE", str(folder))
    monkeypatch.setenv("SD_MODEL_NAME", "mine")
    monkeypatch.setenv("SD_MODELS", "sd-1.5")

    (entry,) = startup.served_entries(Settings())
    assert (entry.name, entry.family) == ("mine", "sd1")
    assert resolve(entry, "fp32") == (folder / "base").resolve()
    assert [(one.name, one.provenance.base) for one in registry.finetuned()] == [("clay", "mine")]


def test_loras_alone_go_with_the_models_that_are_served(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    lora(folder / "clay.safetensors")
    monkeypatch.setenv("SD_MODEL_SOURCE", str(folder))

    assert startup.served_entries(Settings()) == EMBEDDED
    assert [one.provenance.base for one in registry.finetuned()] == ["embedded"]


def test_a_folder_without_a_model_is_one_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SD_MODEL_SOURCE", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()

    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.served_entries(Settings())
    assert str(ended.value).startswith("cannot start: the folder ")
    assert "has no model: " in str(ended.value)


def test_a_name_without_a_folder_is_one_line(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD_MODEL_NAME", "mine")

    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.served_entries(Settings())
    assert "SD_MODEL_NAME=mine is to name the model in the folder" in str(ended.value)
    assert startup.served_entries(Settings(build_only=True)) == EMBEDDED


def test_a_folder_that_is_not_there_is_said(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD_MODEL_SOURCE", "/nowhere")

    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.load_models(Settings())
    assert str(ended.value) == "cannot start: the model store /nowhere does not exist."
    assert "embedded" in startup.load_models(Settings(build_only=True))
