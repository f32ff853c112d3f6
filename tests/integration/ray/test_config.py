"""The config file for ``serve deploy``, as far as it can be checked without a cluster."""

from __future__ import annotations

import pytest
import yaml

from deployment.ray.arguments import Arguments
from tests.conftest import ROOT

CONFIG = yaml.safe_load((ROOT / "deployment" / "ray" / "config.yaml").read_text(encoding="utf-8"))


def test_serve_takes_it() -> None:
    from ray.serve.schema import ServeDeploySchema

    (application,) = ServeDeploySchema.model_validate(CONFIG).applications
    assert application.import_path == "deployment.ray.app:build"


def test_the_application_can_be_built_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployment.ray.app import build

    (application,) = CONFIG["applications"]
    for name, value in application["runtime_env"]["env_vars"].items():
        monkeypatch.setenv(name, value)

    built = build(Arguments.model_validate(application["args"]))

    assert built._bound_deployment.name == "ingress"
