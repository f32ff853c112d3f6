"""Trainings on Ray Train whose machines share nothing but a bucket, and lose a worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from safetensors.torch import load_file

from tests.conftest import ROOT, composite
from tests.e2e.deployment.tools import mock_aws
from tests.integration.server import START_SECONDS, wait_until
from tests.unit.training.classifier.colours import paint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

BUCKET = "training"
STORAGE = ["--storage", f"s3://{BUCKET}/runs"]
WORKERS = ["--ray-workers", "2", "--device", "cpu"]


class Training:
    """A command under way.

    Args:
        command: behind ``python -m training``.
        folder: where it works.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir()
        self._log = folder / "log.txt"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "training", *command],
                cwd=ROOT,
                env={**os.environ, **environment, "BENTOML_HOME": str(folder / "bentoml")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def lose_a_worker(self) -> None:
        """As a machine is lost: at once."""
        there = psutil.Process(self.process.pid).children(recursive=True)
        workers = [one for one in there if "ray::RayTrainWorker" in " ".join(one.cmdline())]
        assert len(workers) == 2
        workers[1].kill()

    def end(self) -> None:
        """Leave nothing of it behind, where it has failed."""
        if self.process.poll() is None:
            there = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for one in there:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait()

    def said(self) -> str:
        """What it has said when it has come to its end, which must be a good one."""
        code = self.process.wait(2 * START_SECONDS)
        said = self._log.read_text(errors="replace")
        assert code == 0, said[-4000:]
        return said


Start = Callable[[Sequence[str], str], Training]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of who uses a mock of S3, which has the bucket."""
    with mock_aws(tmp_path_factory.mktemp("aws")) as mock:
        httpx.put(f"{mock.url}/{BUCKET}").raise_for_status()
        yield {
            "AWS_ENDPOINT_URL": mock.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "OMP_NUM_THREADS": "1",
        }


@pytest.fixture
def start(tmp_path: Path, aws: dict[str, str]) -> Iterator[Start]:
    """Start a training by its command, in a folder of that name."""
    started = []

    def start(command: Sequence[str], name: str) -> Training:
        started.append(Training(command, tmp_path / name, aws))
        return started[-1]

    yield start
    for training in started:
        training.end()


def kept(aws: dict[str, str], name: str) -> bool:
    """Whether the bucket has anything of that name."""
    listing = httpx.get(f"{aws['AWS_ENDPOINT_URL']}/{BUCKET}", params={"list-type": "2"})
    return name in listing.text


def tag(said: str) -> str:
    (line,) = (line for line in said.splitlines() if "is in the model store" in line)
    return line.split()[0]


def test_dreambooth(tmp_path: Path, aws: dict[str, str], start: Start) -> None:
    """It gives the same LoRA; and another machine goes on from the bucket."""
    images = tmp_path / "images"
    images.mkdir()
    for colour in ("red", "blue"):
        composite("robot", colour).save(images / f"{colour}.png")

    def command(work: Path, steps: int = 40) -> list[str]:
        given = {
            "base": "embedded",
            "images": images,
            "token": "unqtkn",
            "class-name": "toy",
            "class-prompt": "a {cat|dog}",
            "class-images": 3,
            "output": "robo",
            "work": work,
            "rank": 4,
            "steps": steps,
            "checkpoint-every": 4,
            "validation-every": 0,
        }
        options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        return ["dreambooth", *options, "--prior-preservation", *WORKERS]

    calm = start(command(tmp_path / "shared" / "robo"), "calm")
    expected = tag(calm.said())

    work = tmp_path / "apart" / "robo"
    training = start([*command(work), *STORAGE], "lossy")
    wait_until(lambda: kept(aws, "robo/step-0000008/"), "a checkpoint in the bucket", START_SECONDS)
    training.lose_a_worker()
    shutil.rmtree(work / "checkpoints")
    assert tag(training.said()) == expected
    # The log of the lost disk was lost with it.
    assert '"step": 40' in (work / "log.jsonl").read_text()

    shutil.rmtree(work)
    longer = start([*command(work, steps=44), *STORAGE], "longer")
    assert tag(longer.said()) != expected
    assert (work / "log.jsonl").read_text().startswith('{"step": 41,')


def test_classifier(tmp_path: Path, aws: dict[str, str], start: Start) -> None:
    paint(tmp_path / "data", count=12)

    def command(out: Path) -> list[str]:
        given = {
            "data": tmp_path / "data",
            "out": out,
            "samples": 480,
            "batch": 6,
            "save-every": 5,
        }
        options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        return ["classifier", *options, *WORKERS]

    calm = start(command(tmp_path / "shared" / "colours"), "calm")
    assert "top-1 100.0%" in calm.said()

    out = tmp_path / "apart" / "colours"
    training = start([*command(out), *STORAGE], "lossy")
    wait_until(
        lambda: kept(aws, "colours/checkpoint-10/"), "a checkpoint in the bucket", START_SECONDS
    )
    training.lose_a_worker()
    shutil.rmtree(out / "checkpoints")
    assert "top-1 100.0%" in training.said()
    models = [
        load_file(folder / "colours" / "model" / "model.safetensors")
        for folder in (tmp_path / "shared", tmp_path / "apart")
    ]
    assert models[0].keys() == models[1].keys()
    assert all(models[0][name].allclose(models[1][name], atol=1e-3) for name in models[0])
