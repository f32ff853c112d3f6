"""Several processes, by accelerate's launcher and by Ray Train: the same training."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.effort import only_in_full
from tests.ports import free_port
from tests.unit.training.dreambooth.conftest import ROOT, MakeOptions, arguments
from training.dreambooth.run import RunFolder

# Ray looks for addresses outside at its start: it gets a network with nothing but loopback.
_NAMESPACE = ["unshare", "-n" if os.geteuid() == 0 else "-rn"]
_BRING_UP = ["sh", "-c", 'ip link set lo up && exec "$0" "$@"']


def _run(command: list[str], home: Path) -> str:
    environment = {
        **os.environ,
        "BENTOML_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def _has_namespaces() -> bool:
    if not all(map(shutil.which, ("unshare", "ip"))):
        return False
    trial = subprocess.run([*_NAMESPACE, *_BRING_UP, "true"], capture_output=True, check=False)
    return trial.returncode == 0


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each way of starting two processes has registered, by its name."""
    return {}


@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_accelerate_launch(
    make_options: MakeOptions, tmp_path: Path, results: dict[str, str]
) -> None:
    options = make_options()
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launcher += ["--num_processes", "2", "--num_machines", "1", "--dynamo_backend", "no"]
    launcher += ["--mixed_precision", "no", "--main_process_port", str(free_port())]
    said = _run([*launcher, "-m", "training", *arguments(options)], tmp_path)
    assert said.count("is in the model store") == 1
    states = RunFolder(options.work).checkpoints / "step-0000004"
    assert len(list(states.glob("random_states_*"))) == 2
    results["accelerate"] = _tag(said)


@only_in_full
@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, ("ray", "pandas", "pyarrow"))), reason="Ray Train is not installed"
)
@pytest.mark.skipif(not _has_namespaces(), reason="no network namespace can be made here")
@pytest.mark.timeout(600)
def test_ray_train_gives_the_same_model(
    make_options: MakeOptions, tmp_path: Path, results: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "training", *arguments(make_options()), "--ray-workers", "2"]
    said = _run([*_NAMESPACE, *_BRING_UP, *command], tmp_path)
    assert said.count("is in the model store") == 1
    if "accelerate" in results:
        assert _tag(said) == results["accelerate"]


def _tag(said: str) -> str:
    (line,) = (line for line in said.splitlines() if "is in the model store" in line)
    return line.split()[0]
