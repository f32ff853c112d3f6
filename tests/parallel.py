"""The division of the tests among the workers of a parallel run: ``pytest -n``."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

# The ones share a mock of AWS and the plans of a Terraform module, and mostly wait; the others a
# server, whose memory is looked at in the end.
TOGETHER = (PurePosixPath("tests/e2e/deployment"), PurePosixPath("tests/abuse"))


class ByFile(LoadScopeScheduling):
    """A worker that is free takes the next file, in the order of collection, as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        folders = [folder for folder in TOGETHER if file.is_relative_to(folder)]
        return str(folders[0] if folders else file)
