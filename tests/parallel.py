"""The division of the tests among the workers of a parallel run: ``pytest -n``."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from xdist.scheduler import LoadScopeScheduling

# Folders and files that one worker takes as a whole, since each worker would make for itself what
# they share: a mock of AWS with the plans of a Terraform module, the servers of both hosts (and a
# library that takes seconds to import).
TOGETHER: Final = (
    ("tests/e2e/deployment",),
    (
        "tests/e2e/test_cross_site.py",
        "tests/e2e/test_swagger.py",
        "tests/integration/test_a1111.py",
        "tests/integration/test_bentoml.py",
        "tests/integration/test_classify.py",
        "tests/integration/test_clients_page.py",
        "tests/integration/test_dashboard.py",
        "tests/integration/test_endpoints.py",
        "tests/integration/test_errors.py",
        "tests/integration/test_expansion.py",
        "tests/integration/test_fine_tuned.py",
        "tests/integration/test_generated_client.py",
        "tests/integration/test_java.py",
        "tests/integration/test_kserve.py",
        "tests/integration/test_notebooks.py",
        "tests/integration/test_openai.py",
        "tests/integration/test_pages_of_others.py",
        "tests/integration/test_pictures.py",
        "tests/integration/test_predictions.py",
        "tests/integration/test_protocols.py",
        "tests/integration/test_streams.py",
        "tests/unit/api/protocols/native/test_openapi.py",
        "tests/unit/api/protocols/openai/test_openapi.py",
    ),
    # A service, a page and a browser.
    ("tests/e2e/ui",),
    # Two servers, whose memory is looked at in the end, and one that is killed.
    ("tests/abuse/local", "tests/abuse/test_faults.py"),
    ("tests/abuse",),
)


class ByFile(LoadScopeScheduling):
    """A worker that is free takes the next file, in the order of collection, as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        for group in TOGETHER:
            if any(file.is_relative_to(path) for path in group):
                return group[0]
        return str(file)
