from __future__ import annotations

import json
import shutil
from pathlib import Path

import bentoml
import pytest

from models.catalog import load_catalog
from models.errors import LoadError, ModelError, ModelNotDownloaded, VariantUnavailable
from models.hub import Hub
from models.pulling import pull
from models.store import add, remove, resolve
from tests.unit.models.conftest import DEFAULTS, Run, make_entry, write_catalog
from tests.unit.models.hub_server import COMMIT, HubServer


def test_what_is_not_downloaded_names_the_command(store: Path) -> None:
    entry = load_catalog().get("sd-1.5")
    with pytest.raises(ModelNotDownloaded) as caught:
        resolve(entry, "fp16")
    assert str(caught.value) == (
        "sd-1.5 is not downloaded in fp16; run: python -m models pull sd-1.5 --precision fp16"
    )
    with pytest.raises(ModelNotDownloaded, match=r"--precision fp32$"):
        resolve(entry, "bf16")
    with pytest.raises(VariantUnavailable, match="has no int8 variant; it has fp32, fp16"):
        resolve(entry, "int8")


def test_missing_local_sources_are_named(store: Path, tmp_path: Path) -> None:
    for source, message in (
        ({"type": "directory", "path": str(tmp_path / "no")}, "the folder .*/no does not exist"),
        (
            {"type": "file", "path": str(tmp_path / "no.safetensors"), "config": "."},
            r"the file .*/no\.safetensors does not exist",
        ),
    ):
        with pytest.raises(LoadError, match=message):
            resolve(make_entry(source=source), "fp32")
    entry = make_entry(source={"type": "bentoml", "tag": "absent:v1"})
    with pytest.raises(ModelNotDownloaded, match="store has no model 'absent:v1'"):
        resolve(entry, "fp32")


def test_a_model_appears_in_the_store_whole_or_not_at_all(
    store: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = tmp_path / "staging"
    shutil.copytree(folder, staging)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            add("own-fp32", "v1", staging, {"a": 1})
    assert bentoml.models.list() == []
    stored = add("own-fp32", "v1", staging, {"a": 1})
    assert stored.metadata == {"a": 1}
    assert [str(model.tag) for model in bentoml.models.list()] == ["own-fp32:v1"]
    assert not staging.exists()


def test_only_pulled_models_are_removed(store: Path, folder: Path) -> None:
    source = {"type": "directory", "path": str(folder)}
    with pytest.raises(ModelError, match="tiny was not downloaded by this program"):
        remove(make_entry(source=source), "fp32")
    assert (folder / "model_index.json").is_file()


def test_remove_takes_unfinished_pulls_too(hub_server: HubServer, store: Path) -> None:
    hub_server.repos["acme/tiny"].lie_about = "vae/diffusion_pytorch_model.fp16.safetensors"
    with pytest.raises(ModelError):
        pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    assert list((store / "pulls" / "tiny-fp16").rglob("*.safetensors"))
    assert remove(make_entry(), "fp16") > 0
    assert not (store / "pulls" / "tiny-fp16").exists()
    assert remove(make_entry(), "fp16") == 0


def test_list_and_remove_on_the_command_line(
    hub_server: HubServer, store: Path, run: Run, tmp_path: Path, folder: Path
) -> None:
    common = {"family": "sd1", "defaults": DEFAULTS, "licence": "none"}
    hub = {"type": "huggingface", "repo": "acme/tiny"}
    catalog = write_catalog(
        tmp_path / "own.yaml",
        {"name": "tiny", "source": hub, "gated": True, **common},
        {"name": "local", "source": {"type": "directory", "path": str(folder)}, **common},
        {"name": "gone", "source": {"type": "directory", "path": "gone"}, **common},
    )
    stored = pull(make_entry(), "fp16", hub=Hub(hub_server.url))

    status, out, err = run("list", "--json", SD_CATALOG=str(catalog))
    assert (status, err) == (0, "")
    assert json.loads(out)["fine_tuned"] == []
    rows = {(row["name"], row["precision"]): row for row in json.loads(out)["catalog"]}
    assert rows["tiny", "fp16"] == {
        "name": "tiny",
        "family": "sd1",
        "precision": "fp16",
        "state": "downloaded",
        "size": stored.size,
        "licence": "none",
        "gated": True,
    }
    states = {key: (row["state"], row["size"] is None) for key, row in rows.items()}
    assert states["tiny", "fp32"] == ("not downloaded", True)
    assert states["sd-1.5", "fp16"] == ("not downloaded", True)
    assert states["embedded", "fp32"] == ("embedded", False)
    assert states["local", "fp32"] == ("local", False)
    assert states["gone", "fp32"] == ("missing", True)

    status, out, _ = run("list", SD_CATALOG=str(catalog))
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == ["NAME", "FAMILY", "PRECISION", "STATE", "SIZE", "LICENCE"]
    line = next(line for line in lines if line.startswith("tiny ") and " fp16 " in line)
    assert "downloaded" in line
    assert " MB " in line
    assert line.endswith("none (gated)")

    status, out, _ = run("remove", "tiny", SD_CATALOG=str(catalog))
    assert status == 0
    assert out.startswith("tiny is removed; ")
    assert not stored.path.exists()
    status, out, err = run("remove", "tiny", "--precision", "fp16", SD_CATALOG=str(catalog))
    assert (status, out, err) == (1, "", "error: tiny is not downloaded in fp16.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pull", "sd-9", "--precision", "fp16"), "error: There is no model 'sd-9'; known models"),
        (("remove", "clay"), "error: There is no model 'clay'; known models: embedded, "),
        (("remove", "embedded"), "error: embedded was not downloaded by this program"),
        (("--catalog", "/none.yaml", "list"), "error: /none.yaml: cannot be read"),
    ],
)
def test_a_failure_is_a_sentence_and_a_status(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_the_commit_of_the_hub_is_in_the_tag(hub_server: HubServer, store: Path) -> None:
    assert pull(make_entry(), "fp16", hub=Hub(hub_server.url)).tag == f"tiny-fp16:{COMMIT[:12]}"
