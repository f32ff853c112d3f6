"""What is registered is served by its name, by every process, and gone when it is removed."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml
import pytest

from models.catalog import Catalog, load_catalog
from models.errors import LoadError, ModelError, UnknownModel, UnsafeWeights
from models.finetuned import FineTuned, Kind, Provenance
from models.registry import finetuned, get, register, remove, revision_of, with_pipelines
from models.sources import BentoSource
from models.store import add as add_to_store
from models.store import resolve, staging_root
from tests.loras import save_lora
from tests.unit.models.conftest import make_entry

CATALOG = load_catalog()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two LoRAs for the embedded model."""
    folder = tmp_path_factory.mktemp("loras")
    return save_lora(folder / "0", seed=0), save_lora(folder / "1", seed=1)


def provenance(**fields: Any) -> Provenance:
    common = {"base": "embedded", "base_revision": "1234", "licence": "mine"}
    return Provenance(**{**common, **fields})


def add(
    name: str,
    folder: Path,
    tmp_path: Path,
    kind: Kind = "lora",
    catalog: Catalog = CATALOG,
    **fields: Any,
) -> FineTuned:
    """Register a copy."""
    copy = tmp_path / f"copy-{name}-{threading.get_ident()}"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    try:
        return register(name, kind, copy, provenance(**fields), catalog)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def test_a_lora_is_there_until_it_is_removed(
    store: Path, made: tuple[Path, Path], tmp_path: Path
) -> None:
    assert finetuned() == ()
    model = add("clay", made[0], tmp_path, subject_token="unqtkn", steps=3, data_hash="00123")

    assert finetuned() == (model,)
    assert get(model.tag) == model
    assert (model.name, model.kind) == ("clay", "lora")
    assert model.tag.startswith("clay:")
    assert model.provenance == provenance(
        subject_token="unqtkn", steps=3, data_hash="00123", created=model.provenance.created
    )
    (file,) = model.path.glob("*.safetensors")
    assert file.read_bytes() == (made[0] / file.name).read_bytes()
    assert model.size == file.stat().st_size
    assert [str(one.tag) for one in bentoml.models.list()] == [model.tag]

    assert remove("clay") > model.size
    assert finetuned() == ()
    assert not model.path.exists()
    assert [path.name for path in staging_root().iterdir()] == ["registry.lock"]
    with pytest.raises(UnknownModel, match="There is no model 'clay:"):
        get(model.tag)
    with pytest.raises(UnknownModel, match="There is no model 'clay'; known models: none"):
        remove("clay")


def test_the_latest_version_is_served_and_older_ones_stay(
    store: Path, made: tuple[Path, Path], tmp_path: Path
) -> None:
    first = add("clay", made[0], tmp_path)
    second = add("clay", made[1], tmp_path)
    assert first.tag != second.tag
    assert finetuned() == (second,)
    assert get(first.tag) == first

    again = add("clay", made[0], tmp_path, description="better words")
    assert (again.tag, again.path) == (first.tag, first.path)
    assert again.provenance.description == "better words"
    assert finetuned() == (again,)
    assert bentoml.models.get("clay").tag.version == first.tag.partition(":")[2]
    remove("clay")
    assert finetuned() == ()


def test_names_that_are_taken(
    store: Path, made: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    for name in ("embedded", "sd-1.5", "sd-1.5-fp16", "auto"):
        with pytest.raises(ModelError, match=f"The name '{name}' is taken"):
            add(name, made[0], tmp_path)
    for name in ("Clay", "../clay", "clay:1", "", "-clay", "c" * 49, "cläy"):
        with pytest.raises(ModelError, match="is no name for a model"):
            register(name, "lora", made[0], provenance(), CATALOG)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    add_to_store("foreign", "v1", copy, {})
    with pytest.raises(ModelError, match="has a 'foreign' that is no fine-tuned model"):
        add("foreign", made[0], tmp_path)
    with pytest.raises(UnknownModel, match="There is no model 'foreign'"):
        remove("foreign")
    assert bentoml.models.get("foreign:v1")


def test_folders_that_are_no_models(store: Path, tmp_path: Path, made: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownModel, match="There is no model 'sd-9'"):
        add("clay", made[0], tmp_path, base="sd-9")
    odd = tmp_path / "odd"
    shutil.copytree(made[0], odd)
    (odd / "more.txt").write_text("x")
    with pytest.raises(LoadError, match=r"and no other; it has more\.txt, pytorch_lora"):
        add("clay", odd, tmp_path)
    with pytest.raises(LoadError, match="is not a diffusers pipeline folder"):
        add("clay", made[0], tmp_path, kind="full")
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "pytorch_lora_weights.safetensors").write_bytes(b"no header")
    with pytest.raises(UnsafeWeights):
        register("clay", "lora", fake, provenance(), CATALOG)
    assert fake.is_dir()
    assert finetuned() == ()


@pytest.mark.parametrize(
    "damage",
    [
        ("kind: lora", "kind: pickle"),
        ("base: embedded", "base: [embedded]"),
        ("licence: mine", "license: mine"),
        ("creation_time:", "creation_tome:"),
        ("metadata:", "metadata: {"),
        ("name: clay", "\x00"),
    ],
    ids=lambda damage: damage[1],
)
def test_broken_metadata_hide_one_model_only(
    store: Path,
    made: tuple[Path, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: tuple[str, str],
) -> None:
    whole = add("whole", made[0], tmp_path)
    broken = add("clay", made[1], tmp_path)
    file = broken.path / "model.yaml"
    text = file.read_text()
    assert damage[0] in text
    file.write_text(text.replace(*damage))

    for _ in range(3):
        assert finetuned() == (whole,)
    assert [record.message for record in caplog.records if "clay" in record.message][1:] == []
    assert "description is broken" in caplog.text
    with pytest.raises(UnknownModel):
        get(broken.tag)
    with pytest.raises(ModelError, match="or a broken one"):
        add("clay", made[0], tmp_path)

    file.write_text(text)
    assert finetuned() == (broken, whole)


def test_registering_and_removing_at_the_same_time(
    store: Path, made: tuple[Path, Path], tmp_path: Path
) -> None:
    stop = threading.Event()
    seen: list[FineTuned] = []

    def watch() -> None:
        while not stop.is_set():
            for model in finetuned():
                seen.append(model)

    def register_and_remove(number: int) -> None:
        for turn in range(4):
            add("shared", made[(number + turn) % 2], tmp_path, description=str(number))
            add(f"own-{number}", made[turn % 2], tmp_path)
            try:
                remove("shared")
            except UnknownModel:
                # The other one was faster.
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(register_and_remove, range(3)))
    stop.set()
    watcher.join()

    assert {model.name for model in finetuned()} - {"shared"} == {"own-0", "own-1", "own-2"}
    assert seen
    assert {model.size for model in seen} == {made_size(made[0])}


def made_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_pipeline_becomes_an_entry(
    store: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = make_entry("tiny", gated=True, licence_url="https://example.org")
    catalog = Catalog((base,))
    model = add(
        "my-tiny", folder, tmp_path, "full", catalog, base="tiny", description="Mine", steps=5
    )
    assert model.kind == "full"

    (_, entry) = with_pipelines(catalog)
    assert (entry.name, entry.family, entry.defaults) == ("my-tiny", base.family, base.defaults)
    assert (entry.licence, entry.licence_url, entry.gated) == ("mine", None, False)
    assert entry.description == "Mine"
    assert entry.source == BentoSource(type="bentoml", tag=model.tag)
    assert resolve(entry, "fp32") == model.path

    # A catalog file was changed since.
    assert with_pipelines(Catalog(())).names == ()
    assert with_pipelines(Catalog((base, make_entry("my-tiny")))).names == ("tiny", "my-tiny")
    assert "my-tiny" in caplog.text


def test_revisions_of_bases(store: Path, folder: Path, tmp_path: Path) -> None:
    assert revision_of(CATALOG.get("sd-1.5"), "fp32") == "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    source = {"type": "directory", "path": str(tmp_path / "tiny")}
    shutil.copytree(folder, tmp_path / "tiny")
    one = revision_of(make_entry(source=source), "fp32")
    assert one == revision_of(make_entry(source=source), "fp32")
    with (tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors").open("ab") as file:
        file.write(b" ")
    assert revision_of(make_entry(source=source), "fp32") != one
    tagged = make_entry(source={"type": "bentoml", "tag": "a:b"})
    assert revision_of(tagged, "fp32") == "a:b"
