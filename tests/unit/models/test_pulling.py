"""Pulling: what of a repository gets into the store, and what never does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import shutil
import subprocess
import sys
import termios
import threading
from pathlib import Path

import bentoml
import pytest
import torch

from models.errors import (
    DownloadError,
    ModelError,
    ModelNotDownloaded,
    UnsafeWeights,
    VariantUnavailable,
)
from models.hub import Hub
from models.loading import load_pipeline
from models.pulling import pull
from models.store import resolve
from tests.unit.models.conftest import (
    ENTRY,
    ROOT,
    UNET,
    UNET_FP16,
    assert_nothing_stored,
    make_entry,
    write_catalog,
)
from tests.unit.models.hub_server import COMMIT, HubServer, Repo

CONFIGS = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "vae/config.json",
}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def copy_repo(server: HubServer, name: str, target: Path) -> Path:
    shutil.copytree(server.repos["acme/tiny"].folder, target)
    server.repos[f"acme/{name}"] = Repo(target)
    return target


@pytest.mark.parametrize(
    ("precision", "weights"),
    [
        (
            "fp32",
            {UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"},
        ),
        (
            "fp16",
            {
                UNET_FP16,
                "vae/diffusion_pytorch_model.fp16.safetensors",
                "text_encoder/model.fp16.safetensors",
            },
        ),
    ],
)
def test_pull_stores_the_files_of_one_precision(
    hub_server: HubServer, store: Path, precision: str, weights: set[str]
) -> None:
    entry = make_entry()
    with pytest.raises(ModelNotDownloaded) as caught:
        resolve(entry, precision)
    assert f"python -m models pull tiny --precision {precision}" in str(caught.value)

    stored = pull(entry, precision, hub=Hub(hub_server.url))

    assert stored.tag == f"tiny-{precision}:{COMMIT[:12]}"
    assert resolve(entry, precision) == stored.path
    assert files_below(stored.path) == CONFIGS | weights | {"model.yaml"}
    assert {sent.path for sent in hub_server.sent} == CONFIGS | weights
    assert not (store / "pulls" / f"tiny-{precision}").exists()

    model = bentoml.models.get(f"tiny-{precision}")
    metadata = model.info.metadata
    hashes = metadata.pop("files")
    assert metadata == {
        "name": "tiny",
        "family": "sd1",
        "precision": precision,
        "repo": "acme/tiny",
        "revision": "main",
        "commit": COMMIT,
        "licence": "none",
        "size": sum((stored.path / name).stat().st_size for name in hashes),
    }
    assert hashes == {
        name: hashlib.sha256((stored.path / name).read_bytes()).hexdigest()
        for name in CONFIGS | weights
    }
    dtype = torch.float16 if precision == "fp16" else torch.float32
    pipeline = load_pipeline(entry, location=stored.path, dtype=dtype, device="cpu")
    assert pipeline.unet.dtype == dtype


def test_a_second_pull_fetches_nothing(hub_server: HubServer, store: Path) -> None:
    first = pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    hub_server.sent.clear()
    assert pull(make_entry(), "fp16", hub=Hub(hub_server.url)) == first
    assert hub_server.sent == []


def test_a_pinned_commit_that_is_here_needs_no_hub(hub_server: HubServer, store: Path) -> None:
    source = {"type": "huggingface", "repo": "acme/tiny", "revision": COMMIT}
    entry = make_entry(source=source)
    first = pull(entry, "fp16", hub=Hub(hub_server.url))
    assert pull(entry, "fp16", hub=Hub("http://127.0.0.1:1")) == first


def test_a_moved_branch_is_a_new_version_and_a_pin_stays(
    hub_server: HubServer, store: Path
) -> None:
    first = pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    hub_server.repos["acme/tiny"].commit = "f" * 40
    second = pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    assert second.tag == f"tiny-fp16:{'f' * 12}"
    assert resolve(make_entry(), "fp16") == second.path
    source = {"type": "huggingface", "repo": "acme/tiny", "revision": COMMIT}
    assert resolve(make_entry(source=source), "fp16") == first.path
    source["revision"] = "a" * 40
    with pytest.raises(ModelNotDownloaded):
        resolve(make_entry(source=source), "fp16")


def test_a_missing_variant(hub_server: HubServer, store: Path, tmp_path: Path) -> None:
    folder = copy_repo(hub_server, "full", tmp_path / "full")
    for file in folder.rglob("*.fp16.safetensors"):
        file.unlink()
    with pytest.raises(VariantUnavailable, match="acme/full at 0123456789ab has no fp16 weights"):
        pull(make_entry("full"), "fp16", hub=Hub(hub_server.url))
    assert_nothing_stored(store)

    folder = copy_repo(hub_server, "half", tmp_path / "half")
    (folder / UNET).unlink()
    with pytest.raises(VariantUnavailable, match="has unet in fp16 only"):
        pull(make_entry("half"), "fp32", hub=Hub(hub_server.url))
    with pytest.raises(VariantUnavailable, match="full has no fp32 variant; it has fp16"):
        pull(make_entry("full", variants=["fp16"]), "fp32", hub=Hub(hub_server.url))


def test_a_component_without_fp16_files_is_taken_as_it_is(
    hub_server: HubServer, store: Path, tmp_path: Path
) -> None:
    folder = copy_repo(hub_server, "mixed", tmp_path / "mixed")
    (folder / UNET_FP16).unlink()
    stored = pull(make_entry("mixed"), "fp16", hub=Hub(hub_server.url))
    found = {name for name in files_below(stored.path) if name.endswith(".safetensors")}
    assert found == {
        UNET,
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }


def test_shards_come_with_the_index_of_their_variant(
    hub_server: HubServer, store: Path, tmp_path: Path
) -> None:
    folder = copy_repo(hub_server, "shards", tmp_path / "shards")
    unet = folder / "unet"
    for variant in ("", ".fp16"):
        whole = unet / f"diffusion_pytorch_model{variant}.safetensors"
        for number in (1, 2):
            name = f"diffusion_pytorch_model{variant}-0000{number}-of-00002.safetensors"
            shutil.copy(whole, unet / name)
        whole.unlink()
        (unet / f"diffusion_pytorch_model.safetensors.index{variant}.json").write_text("{}")
    stored = pull(make_entry("shards"), "fp16", hub=Hub(hub_server.url))
    assert files_below(stored.path / "unet") == {
        "config.json",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    }


def test_pickled_weights_are_never_fetched(
    hub_server: HubServer, store: Path, tmp_path: Path
) -> None:
    folder = copy_repo(hub_server, "pickled", tmp_path / "pickled")
    for file in (folder / "unet").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(UnsafeWeights, match=r"'unet' only as a pickled checkpoint \(unet/diff"):
        pull(make_entry("pickled"), "fp32", hub=Hub(hub_server.url))
    assert {sent.path for sent in hub_server.sent} == {"model_index.json"}


def test_a_pickle_named_safetensors_does_not_reach_the_store(
    hub_server: HubServer, store: Path, tmp_path: Path
) -> None:
    folder = copy_repo(hub_server, "renamed", tmp_path / "renamed")
    (folder / UNET).write_bytes(b"\x80\x04never unpickled")
    with pytest.raises(UnsafeWeights, match="is not in the safetensors format"):
        pull(make_entry("renamed"), "fp32", hub=Hub(hub_server.url))
    assert_nothing_stored(store)


def test_a_repository_that_is_no_pipeline(
    hub_server: HubServer, store: Path, tmp_path: Path
) -> None:
    folder = copy_repo(hub_server, "other", tmp_path / "other")
    (folder / "model_index.json").unlink()
    with pytest.raises(DownloadError, match=r"acme/other is not a diffusers pipeline repository"):
        pull(make_entry("other"), "fp32", hub=Hub(hub_server.url))
    folder = copy_repo(hub_server, "lacking", tmp_path / "lacking")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(DownloadError, match="acme/lacking has no files for its component 'token"):
        pull(make_entry("lacking"), "fp32", hub=Hub(hub_server.url))


def test_two_pulls_of_one_model_do_not_mix(hub_server: HubServer, store: Path) -> None:
    hub_server.stall_after[UNET_FP16] = 1024
    failures: list[Exception] = []

    def first() -> None:
        try:
            pull(make_entry(), "fp16", hub=Hub(hub_server.url))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert hub_server.stalled.wait(timeout=30)
    with pytest.raises(DownloadError, match="tiny in fp16 is being pulled by another process"):
        pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    hub_server.released.set()
    thread.join()
    assert failures == []


def test_a_local_model_is_not_pulled(store: Path, folder: Path) -> None:
    entry = make_entry(source={"type": "directory", "path": str(folder)})
    with pytest.raises(ModelError, match=r"tiny is a local model \(directory\)"):
        pull(entry, "fp32")


def test_a_terminal_sees_a_progress_bar(
    hub_server: HubServer, store: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    catalog = write_catalog(tmp_path / "own.yaml", ENTRY)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "models", "pull", "tiny", "--precision", "fp16"],
        cwd=ROOT,
        env={**environment, "SD_CATALOG": str(catalog), "HF_ENDPOINT": hub_server.url},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert b"tiny fp16: 100%" in shown
