"""The environment that torch and transformers need before they are imported: they read it once,
when they are loaded. So this module imports neither."""

from __future__ import annotations

import os

DEFAULTS = {
    # OpenMP's idle threads spin by default. With anything else on the cores that costs a factor of
    # ten (two cores, one busy: 10 s a picture against 1.2 s); not at all costs too, as a pass has
    # hundreds of barriers. So they spin briefly.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "10000",
    # Each number of rows needs kernels of its own, and oneDNN keeps 1,024 by default: memory that
    # grows for thousands of jobs.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
    # transformers warns on its import that torchvision is not there; nothing here needs it.
    "TRANSFORMERS_VERBOSITY": "error",
}


def prepare() -> None:
    """Set what is not set yet, for this process and those that it starts."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
