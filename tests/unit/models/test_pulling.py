from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import shutil
import socket
import subprocess
import sys
import termios
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import bentoml
import pytest
import torch

from models.errors import (
    DownloadError,
    GatedModel,
    ModelError,
    ModelNotDownloaded,
    NotEnoughDisk,
    UnsafeWeights,
    VariantUnavailable,
)
from models.hub import Hub
from models.loading import load_pipeline
from models.pulling import pull
from models.store import resolve
from tests.unit.models.conftest import DEFAULTS, ROOT, make_entry, write_catalog
from tests.unit.models.hub_server import COMMIT, HubServer, Repo

UNET = "unet/diffusion_pytorch_model.safetensors"
UNET_FP16 = "unet/diffusion_pytorch_model.fp16.safetensors"
CONFIGS = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "vae/config.json",
}
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., tuple[int, str, str]]
ENTRY = {
    "name": "tiny",
    "family": "sd1",
    "source": {"type": "huggingface", "repo": "acme/tiny"},
    "defaults": DEFAULTS,
    "licence": "none",
}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def copy_repo(server: HubServer, name: str, target: Path) -> Path:
    shutil.copytree(server.repos["acme/tiny"].folder, target)
    server.repos[f"acme/{name}"] = Repo(target)
    return target


def assert_nothing_stored(home: Path) -> None:
    assert not list((home / "models").rglob("model.yaml"))
    assert bentoml.models.list() == []


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


def test_killed_in_the_middle_it_continues(
    hub_server: HubServer, store: Path, start: Start, run: Run, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "own.yaml", ENTRY)
    command = ("--catalog", str(catalog), "pull", "tiny", "--precision", "fp32")
    size = (hub_server.repos["acme/tiny"].folder / UNET).stat().st_size
    stall = 3 * 1024 * 1024
    assert size > stall
    hub_server.stall_after[UNET] = stall

    process = start(*command, HF_ENDPOINT=hub_server.url)
    assert hub_server.stalled.wait(timeout=30)
    part = store / "pulls" / "tiny-fp32" / COMMIT[:12] / f"{UNET}.part"
    while not part.exists() or part.stat().st_size < stall:
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert_nothing_stored(store)
    before = len(hub_server.sent)

    status, out, err = run(*command, HF_ENDPOINT=hub_server.url)
    assert (status, err) == (0, "")
    assert f"tiny-fp32:{COMMIT[:12]}" in out
    first, second = hub_server.requests(UNET)
    assert (first.start, first.size) == (0, stall)
    assert (second.start, second.size) == (stall, size - stall)
    again = {sent.path for sent in hub_server.sent[before:]}
    assert not again & {sent.path for sent in hub_server.sent[:before] if sent.path != UNET}
    assert resolve(make_entry(), "fp32").is_dir()


def test_a_broken_connection_is_resumed_within_one_pull(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.time.sleep", lambda _: None)
    hub_server.break_after[UNET] = 2 * 1024 * 1024 + 5
    stored = pull(make_entry(), "fp32", hub=Hub(hub_server.url))
    first, second = hub_server.requests(UNET)
    assert first.start == 0
    assert second.start == 2 * 1024 * 1024
    assert (stored.path / UNET).is_file()


def test_a_server_that_ignores_ranges_starts_over(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.hub.time.sleep", lambda _: None)
    hub_server.ignore_ranges = True
    hub_server.break_after[UNET] = 2 * 1024 * 1024
    stored = pull(make_entry(), "fp32", hub=Hub(hub_server.url))
    source = hub_server.repos["acme/tiny"].folder / UNET
    assert (stored.path / UNET).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("path", [UNET_FP16, "unet/config.json"])
def test_a_damaged_file_is_dropped(hub_server: HubServer, store: Path, path: str) -> None:
    hub_server.repos["acme/tiny"].lie_about = path
    with pytest.raises(DownloadError, match=f"{path} of acme/tiny arrived damaged"):
        pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    assert_nothing_stored(store)
    hub_server.repos["acme/tiny"].lie_about = None
    pull(make_entry(), "fp16", hub=Hub(hub_server.url))


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


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (401, "accept its licence at {page} and log in with `hf auth login`, or set HF_TOKEN"),
        (403, "your token has not accepted its licence: do so at {page}"),
    ],
)
def test_a_gate_says_what_to_do(hub_server: HubServer, store: Path, status: int, todo: str) -> None:
    hub_server.repos["acme/tiny"].gate = status
    with pytest.raises(GatedModel) as caught:
        pull(make_entry(gated=True), "fp16", hub=Hub(hub_server.url))
    message = str(caught.value)
    assert message.startswith("acme/tiny is gated: ")
    assert todo.format(page=f"{hub_server.url}/acme/tiny") in message
    assert_nothing_stored(store)


def test_the_token_is_sent(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    pull(make_entry(), "fp16", hub=Hub(hub_server.url))
    assert set(hub_server.tokens) == {"Bearer hf_test"}


def test_a_wrong_token_is_named(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DownloadError, match="answered 401 for acme/tiny: your token is not valid"):
        pull(make_entry(), "fp16", hub=Hub(hub_server.url))


def test_an_unknown_revision(hub_server: HubServer, store: Path) -> None:
    source = {"type": "huggingface", "repo": "acme/tiny", "revision": "none"}
    with pytest.raises(DownloadError, match="acme/tiny has no revision 'none'"):
        pull(make_entry(source=source), "fp16", hub=Hub(hub_server.url))


def test_an_unknown_repository(hub_server: HubServer, store: Path) -> None:
    with pytest.raises(DownloadError, match="has no repository acme/none that you may see"):
        pull(make_entry("none"), "fp16", hub=Hub(hub_server.url))


def test_no_network_is_one_sentence(store: Path, run: Run, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        status, out, err = run("pull", "sd-1.5", "--precision", "fp16", HF_ENDPOINT=url)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {url} cannot be reached (")
    assert err.count("\n") == 1
    status, _, err = run("pull", "sd-1.5", "--precision", "fp16", HF_HUB_OFFLINE="1")
    assert (status, err) == (1, "error: HF_HUB_OFFLINE is set, so nothing can be downloaded.\n")


def test_too_little_disk(
    hub_server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 513 * 10**6))
    with pytest.raises(
        NotEnoughDisk,
        match=r"tiny in fp32 needs 54\d\.\d MB of free disk at .*; there are 513\.0 MB\.",
    ):
        pull(make_entry(), "fp32", hub=Hub(hub_server.url))
    assert {sent.path for sent in hub_server.sent} == {"model_index.json"}


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
