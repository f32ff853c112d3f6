"""Swagger UI in a real browser: "Try it out" makes pictures."""

from __future__ import annotations

from pathlib import Path

from tests import uploads
from tests.e2e.browser import needs_browser, severe_lines, shows_a_picture, started, try_it_out
from tests.integration.server import Server

pytestmark = needs_browser


def test_try_it_out(bentoml_server: Server, tmp_path: Path) -> None:
    upload = tmp_path / "in.jpg"
    upload.write_bytes(uploads.ODD["jpeg"][0])
    with started() as browser:
        browser.get(bentoml_server.url)

        assert shows_a_picture(browser, try_it_out(browser, "txt2img"))
        assert shows_a_picture(browser, try_it_out(browser, "img2img", upload))
        assert shows_a_picture(browser, try_it_out(browser, "dreambooth"))
        assert shows_a_picture(browser, try_it_out(browser, "inpaint", upload, upload))

        script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        fetched = browser.execute_script(script)
        assert fetched
        own = (bentoml_server.url, "data:", "blob:")
        assert all(url.startswith(own) for url in fetched), fetched
        assert not severe_lines(browser)
