"""What the start refuses, in one sentence each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assembly import checks, startup
from models.catalog import load_catalog
from models.placement import Placement
from settings import Settings

EMBEDDED = (load_catalog().get("embedded"),)
CPU = Placement("cpu", "fp32")
GPU = Placement("cuda", "fp16")


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
        checks.check_compiler("openvino", placement)
    assert str(ended.value) == (
        "cannot start: SD_COMPILE=openvino computes on a CPU in fp32, and the models would run "
        f"{where}: set SD_DEVICE=cpu and SD_PRECISION=fp32, or another SD_COMPILE"
    )


def test_openvino_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SystemExit) as ended, startup.explained():
        checks.check_compiler("openvino", CPU)
    assert str(ended.value) == (
        "cannot start: SD_COMPILE=openvino needs a package that is not installed; "
        "run: pip install -r requirements-openvino.txt"
    )


@pytest.mark.usefixtures("openvino")
def test_openvino_that_is_installed_is_accepted() -> None:
    checks.check_compiler("openvino", CPU)


@pytest.mark.parametrize("placement", [CPU, GPU])
@pytest.mark.parametrize("compiler", ["none", "inductor"])
def test_other_compilers_are_accepted_anywhere(placement: Placement, compiler: str) -> None:
    checks.check_compiler(compiler, placement)


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
        checks.check_memory(entries, CPU, budget, pinned)
    assert str(ended.value).startswith(f"cannot start: SD_MODEL_MEMORY is too small: {sentence}. ")


@pytest.mark.parametrize("budget", [None, 50_000_000])
def test_other_budgets_are_accepted(budget: int | None) -> None:
    checks.check_memory(EMBEDDED, CPU, budget, ("embedded",))


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
        checks.check_screening(settings, entries)
    assert str(ended.value) == (
        "cannot start: pictures of embedded are to be screened (nsfw: blur), which needs packages "
        "that are not installed; run: pip install -r requirements-nsfw.txt"
    )
    checks.check_screening(Settings(screen_blank="reject"), EMBEDDED)


def test_screening_that_is_installed_is_accepted() -> None:
    checks.check_screening(Settings(screen_nsfw="reject"), EMBEDDED)


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
        checks.check_quantization(chosen, entries)
    assert message in str(ended.value)
