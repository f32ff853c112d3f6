from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from serving.front import Front


@pytest.mark.parametrize(
    ("path", "who"), [("/", "site"), ("/docs.json", "site"), ("/txt2img", "app"), ("/docs", "app")]
)
def test_the_page_and_the_document_are_ours(path: str, who: str) -> None:
    client = TestClient(Front(PlainTextResponse("app"), site=PlainTextResponse("site")))

    assert client.get(path).text == who
