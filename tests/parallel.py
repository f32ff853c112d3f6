"""The division of the tests among the workers of a parallel run: ``pytest -n``."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

# They share a mock of AWS and the plans of a Terraform module, and mostly wait.
TOGETHER = PurePosixPath("tests/e2e/deployment")


class ByFile(LoadScopeScheduling):
    """A worker that is free takes the next file, in the order of collection, as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        return str(TOGETHER if file.is_relative_to(TOGETHER) else file)
