from __future__ import annotations

import shutil
import sys
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


@pytest.fixture
def openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name, which must not be imported just to see that it is there."""
    package = tmp_path / "openvino"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("placement", "where"),
    [(GPU, "on cuda in fp16"), (Placement("cpu", "bf16"), "on cpu in bf16")],
)
@pytest.mark.usefixtures("openvino")
def test_openvino_elsewhere_than_on_a_cpu_in_fp32_is_refused(
    placement: Placement, where: str
) -> None:
    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.check(EMBEDDED, placement, "openvino")
    assert str(ended.value) == (
        "cannot start: SD_COMPILE=openvino computes on a CPU in fp32, and the models would run "
        f"{where}: set SD_DEVICE=cpu and SD_PRECISION=fp32, or another SD_COMPILE"
    )


def test_openvino_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.check(EMBEDDED, CPU, "openvino")
    assert str(ended.value) == (
        "cannot start: SD_COMPILE=openvino needs a package that is not installed; "
        "run: pip install -r requirements-openvino.txt"
    )


@pytest.mark.usefixtures("openvino")
def test_openvino_that_is_installed_is_accepted() -> None:
    startup.check(EMBEDDED, CPU, "openvino")


@pytest.mark.parametrize("placement", [CPU, GPU])
@pytest.mark.parametrize("compiler", ["none", "inductor"])
def test_other_compilers_are_accepted_anywhere(placement: Placement, compiler: str) -> None:
    startup.check(EMBEDDED, placement, compiler)


@pytest.mark.parametrize(
    ("budget", "pinned", "sentence"),
    [
        (10_000_000, (), "embedded takes 22.5 MB, and the budget of all models is 10.0 MB"),
        (
            10_000_000,
            ("embedded",),
            "the pinned models take 22.5 MB together, and the budget of all models is 10.0 MB",
        ),
        (
            30_000_000,
            ("embedded",),
            "again takes 22.5 MB, with the pinned models 42.4 MB, and the budget of all models "
            "is 30.0 MB",
        ),
    ],
)
def test_a_budget_that_no_model_fits_into_is_refused(
    budget: int, pinned: tuple[str, ...], sentence: str
) -> None:
    entries = (*EMBEDDED, EMBEDDED[0].model_copy(update={"name": "again"}))
    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.check_memory(entries, CPU, budget, pinned)
    assert str(ended.value).startswith(f"cannot start: SD_MODEL_MEMORY is too small: {sentence}. ")


@pytest.mark.parametrize("budget", [None, 50_000_000])
def test_other_budgets_are_accepted(budget: int | None) -> None:
    startup.check_memory(EMBEDDED, CPU, budget, ("embedded",))


@pytest.mark.parametrize("package", ["nudenet", "onnxruntime"])
@pytest.mark.parametrize("of_the_model", [False, True])
def test_screening_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, package: str, of_the_model: bool
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    entries = EMBEDDED
    if of_the_model:
        entries = (EMBEDDED[0].model_copy(update={"screening": {"nsfw": "blur"}}),)
    settings = Settings(screen_nsfw="off" if of_the_model else "blur")
    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.check_screening(settings, entries)
    assert str(ended.value) == (
        "cannot start: pictures of embedded are to be screened (nsfw: blur), which needs packages "
        "that are not installed; run: pip install -r requirements-nsfw.txt"
    )
    startup.check_screening(Settings(screen_blank="reject"), EMBEDDED)


def test_screening_that_is_installed_is_accepted() -> None:
    startup.check_screening(Settings(screen_nsfw="reject"), EMBEDDED)


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantize": "int8"}, "needs torchao, a package that is not installed; run: pip install"),
        ({"quantize": "nf4"}, "needs bitsandbytes, a package that is not installed"),
        ({"quantize": "t5=int8"}, "SD_QUANTIZE names t5 alone, and none of the models has such a"),
        (
            {"quantize": "denoiser=fp8", "compile": "inductor"},
            "is to be quantised (fp8) and compiled: set SD_COMPILE=none, got inductor",
        ),
    ],
)
def test_a_quantisation_that_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    monkeypatch.setattr("models.quantization.find_spec", lambda package: None)
    chosen = Settings(**settings)  # type: ignore[arg-type]
    entries = [entry.with_quantization(chosen.quantize) for entry in EMBEDDED]
    with pytest.raises(SystemExit) as ended, startup.explained():
        startup.check_quantization(chosen, entries)
    assert message in str(ended.value)
