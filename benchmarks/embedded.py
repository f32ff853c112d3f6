"""The service's engine over the embedded model, in this process."""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from assembly import environment

environment.prepare()

from assembly.engine import build_engine
from contract.observer import NullObserver
from engine.engine import Engine
from models.catalog import load_catalog
from models.placement import place
from settings import Settings


def build() -> Engine:
    """The engine as the service builds it with the settings of the environment."""
    settings = Settings()
    entry = load_catalog(None).get("embedded")
    placement = place(settings.device, settings.precision)
    return build_engine(settings, (entry,), placement, {}, NullObserver())
