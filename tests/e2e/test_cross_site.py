"""Pages of other sites in a real browser: whatever they try, the service makes no picture for them.

The other sites are served on 127.0.0.1 too, under a name of their own and as another port, so that
what stops them is the service and no rule of the browser about local networks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.e2e.browser import (
    find,
    needs_browser,
    severe_lines,
    shows_a_picture,
    started,
    try_it_out,
)
from tests.effort import only_in_full
from tests.integration.server import Server, serving, wait_until

pytestmark = [*needs_browser, pytest.mark.slow]

# Called with the service's URL. Each begins one request, or a few, and none waits for an answer.
PREPARED = """
const service = arguments[0];
const body = JSON.stringify({prompt: 'x', num_inference_steps: 2});
const add = (tag, attributes) =>
  document.body.appendChild(Object.assign(document.createElement(tag), attributes));
const picture = new File(
  [Uint8Array.from(atob('%s'), one => one.charCodeAt(0))], 'in.png', {type: 'image/png'});
const form = new FormData();
form.append('img', picture);
form.append('data', body);
"""
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ATTACKS = {
    "a blob without a type": (
        "/txt2img",
        "fetch(service + '/txt2img', {method: 'POST', mode: 'no-cors', body: new Blob([body])})",
    ),
    "a text": (
        "/txt2img",
        "fetch(service + '/txt2img', {method: 'POST', mode: 'no-cors', body})",
    ),
    "a beacon": ("/txt2img", "navigator.sendBeacon(service + '/txt2img', new Blob([body]))"),
    "JSON, which the browser asks for first": (
        "/txt2img",
        "fetch(service + '/txt2img', {method: 'POST', body,"
        " headers: {'Content-Type': 'application/json'}})",
    ),
    "multipart": (
        "/img2img",
        "fetch(service + '/img2img', {method: 'POST', mode: 'no-cors', body: form})",
    ),
    "a form": (
        "/img2img",
        """
        const files = new DataTransfer();
        files.items.add(picture);
        add('iframe', {name: 'hidden'});
        const sent = add('form', {method: 'POST', enctype: 'multipart/form-data',
                                  action: service + '/img2img', target: 'hidden'});
        sent.innerHTML = '<input type="file" name="img"><textarea name="data"></textarea>';
        sent.elements.img.files = files.files;
        sent.elements.data.value = body;
        sent.submit()
        """,
    ),
    "a picture": ("/dreambooth", "add('img', {src: service + '/dreambooth?prompt=x'})"),
    "a picture without a referrer": (
        "/dreambooth",
        "add('img', {referrerPolicy: 'no-referrer', src: service + '/dreambooth?prompt=y'})",
    ),
    "a script": ("/dreambooth", "add('script', {src: service + '/dreambooth?prompt=x'})"),
    "a frame": ("/dreambooth", "add('iframe', {src: service + '/dreambooth?prompt=x'})"),
    "a frame without an origin": (
        "/txt2img",
        "add('iframe', {sandbox: 'allow-scripts', srcdoc: `<script>fetch('${service}/txt2img',"
        " {method: 'POST', mode: 'no-cors', body: new Blob(['${body}'])})</script>`})",
    ),
    "a frame around the page": ("/", "add('iframe', {src: service + '/'})"),
    "a link": (
        "/dreambooth",
        "add('a', {href: service + '/dreambooth?prompt=x', target: '_blank'}).click()",
    ),
    "a form of a whole window": (
        "/dreambooth",
        "add('form', {method: 'POST', action: service + '/dreambooth?prompt=x',"
        " target: '_blank'}).submit()",
    ),
    "a look at the document": ("/docs.json", "fetch(service + '/docs.json')"),
}

LINK = PREPARED % PIXEL + "add('a', {href: service + '/'}).click()"


class OtherSite(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>other</title><body></body>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def other_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherSite) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    with started(
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        "--disable-features=LocalNetworkAccessChecks",
    ) as browser:
        yield browser


def refusals(server: Server, path: str) -> int:
    """How often the service has refused a path to another site."""
    return server.log.read_text().count(f"refused: {json.dumps(path)} from another site")


def jobs(server: Server) -> float:
    """Jobs that the engine has ended, however, and those that it has."""
    return server.metric("sd_jobs_total") + server.metric("sd_queue_depth")


def test_pages_of_another_site_start_no_work(
    bentoml_server: Server, browser: WebDriver, other_port: int
) -> None:
    other, before = f"http://evil.test:{other_port}/", jobs(bentoml_server)
    for name, (path, script) in ATTACKS.items():
        browser.get(other)
        count = refusals(bentoml_server, path)
        browser.execute_script(PREPARED % PIXEL + script, bentoml_server.url)
        wait_until(
            lambda: refusals(bentoml_server, path) > count,  # noqa: B023
            f"the refusal of {name}",
            seconds=20,
        )
    assert jobs(bentoml_server) == before

    # What the user types is the user's own.
    severe_lines(browser)
    browser.get(f"{bentoml_server.url}/dreambooth?prompt=x&img_size=72")
    assert browser.execute_script("return document.images[0].naturalWidth") == 72
    assert jobs(bentoml_server) == before + 1

    # Their users get there by a link, and then it is the service's own page.
    browser.get(other)
    browser.execute_script(LINK, bentoml_server.url)
    severe_lines(browser)
    assert shows_a_picture(browser, try_it_out(browser, "txt2img"))
    assert not severe_lines(browser)
    assert jobs(bentoml_server) == before + 2


@pytest.mark.parametrize("site", ["127.0.0.1", "localhost"])
def test_pages_of_this_machine_start_no_work(
    bentoml_server: Server, browser: WebDriver, other_port: int, site: str
) -> None:
    """For the browser they are of the same site, or nearly; all attacks come from one page."""
    before = jobs(bentoml_server)
    expected = Counter(path for path, _ in ATTACKS.values())
    expected = Counter({path: refusals(bentoml_server, path) for path in expected}) + expected
    browser.get(f"http://{site}:{other_port}/")
    blocks = "".join(f"{{ {script} }}" for _, script in ATTACKS.values())
    browser.execute_script(PREPARED % PIXEL + blocks, bentoml_server.url)
    for path, count in expected.items():
        wait_until(
            lambda: refusals(bentoml_server, path) >= count,  # noqa: B023
            f"the refusals of {path}",
            seconds=20,
        )
    assert jobs(bentoml_server) == before

    browser.get(f"http://{site}:{other_port}/")
    browser.execute_script(LINK, bentoml_server.url)
    wait_until(lambda: browser.current_url.startswith(bentoml_server.url), "the service's page")
    script = """
        const done = arguments[0];
        fetch('/txt2img', {method: 'POST', headers: {'Content-Type': 'application/json'},
                           body: '{"prompt": "x", "num_inference_steps": 1}'})
            .then(response => done([location.origin, response.status]))
    """
    assert browser.execute_async_script(script) == [bentoml_server.url, 200]
    assert jobs(bentoml_server) == before + 1


def test_pages_of_other_sites_read_nothing(
    bentoml_server: Server, browser: WebDriver, other_port: int
) -> None:
    browser.get(f"http://evil.test:{other_port}/")
    script = """
        const [url, done] = arguments;
        fetch(url).then(response => response.text()).then(done, error => done(error.name))
    """
    for path in ("/", "/docs.json", "/models", "/metrics", "/static_content/swagger-ui.css"):
        assert browser.execute_async_script(script, bentoml_server.url + path) == "TypeError"


def test_web_sockets_of_other_sites_do_not_open(
    bentoml_server: Server, browser: WebDriver, other_port: int
) -> None:
    browser.get(f"http://evil.test:{other_port}/")
    script = """
        const [url, done] = arguments;
        const socket = new WebSocket(url);
        socket.onopen = () => done('open');
        socket.onerror = () => done('refused')
    """
    for path in ("/", "/txt2img", "/dreambooth?prompt=x"):
        url = bentoml_server.url.replace("http", "ws") + path
        assert browser.execute_async_script(script, url) == "refused"


def test_a_name_that_resolves_to_the_service_is_of_no_use(
    bentoml_server: Server, browser: WebDriver
) -> None:
    before = jobs(bentoml_server)
    browser.get(f"http://evil.test:{bentoml_server.port}/docs.json")
    assert '"code":"forbidden"' in find(browser, "body").text

    script = """
        const done = arguments[0];
        fetch('/txt2img', {method: 'POST', headers: {'Content-Type': 'application/json'},
                           body: '{"prompt": "x"}'})
            .then(response => response.json().then(body => done([response.status, body])),
                  error => done([0, error.message]))
    """
    # The refusal has a policy of its own, which forbids scripts of the page to ask at all.
    assert browser.execute_async_script(script)[0] == 0
    # A page that came from elsewhere, when the name did not lead to the service yet, has none.
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    browser.get(f"http://evil.test:{bentoml_server.port}/")
    try:
        status, body = browser.execute_async_script(script)
    finally:
        browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    assert status == 403
    assert body["error"]["field"] == "Host"
    assert jobs(bentoml_server) == before


@only_in_full
def test_pages_of_allowed_origins_may_do_all(
    browser: WebDriver, other_port: int, tmp_path: Path
) -> None:
    origin = f"http://evil.test:{other_port}"
    script = """
        const [url, done] = arguments;
        fetch(url + '/txt2img', {method: 'POST', body: '{"prompt": "x", "num_inference_steps": 1}',
                                 headers: {'Content-Type': 'application/json',
                                           'X-Request-Id': 'mine'}})
            .then(response => response.blob()
                .then(createImageBitmap)
                .then(bitmap => done([bitmap.width, response.headers.get('X-Seed'),
                                      response.headers.get('X-Request-Id')])),
                  error => done(error.message))
    """
    with serving(tmp_path, host="local", SD_ALLOWED_ORIGINS=origin) as server:
        browser.get(origin)
        width, seed, name = browser.execute_async_script(script, server.url)
        assert (width, seed.isdecimal(), name) == (64, True, "mine")
        # The same requests are refused above for where they come from, and for nothing else.
        for drawn, attack in enumerate(("multipart", "a form"), start=1):
            browser.execute_script(PREPARED % PIXEL + ATTACKS[attack][1], server.url)
            wait_until(
                lambda: server.metric("sd_jobs_total", outcome="ok") > drawn,  # noqa: B023
                f"the picture of {attack}",
            )

        browser.get(f"http://localhost:{other_port}/")
        assert browser.execute_async_script(script, server.url) == "Failed to fetch"
