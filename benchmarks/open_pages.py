"""Open pages without as many browsers: what Chromium sends for one and keeps open, sent again."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.e2e.ui.visitor import visitor

_STREAM: Final = "text/event-stream"
# Until nothing more happens on a page that nobody touches.
_SETTLED_SECONDS: Final = 5.0
# The event after which it closes a stream.
_LAST: Final = "close_stream"
# Gradio's name of an open page, random.
_SESSION: Final = re.compile(r"/heartbeat/([^/?]+)")


@dataclass(slots=True)
class Asked:
    """What a page has asked for.

    Attributes:
        path: with the query.
        body: of the request; None where there is none.
        content_type: of that.
        is_stream: whether the answer is one of events.
        is_kept: whether that goes on as long as the page is open.
    """

    method: str
    path: str
    body: str | None
    content_type: str | None
    is_stream: bool = False
    is_kept: bool = True


def recorded(stack: ExitStack, browser: WebDriver, url: str) -> list[Asked]:
    """What a visitor's page asks for until it is idle, in that order. It stays open.

    Args:
        stack: closes the page.
        browser: one that logs what it asks for.
        url: of the page.
    """
    somebody = stack.enter_context(visitor(browser, url))
    browser.get_log("performance")  # type: ignore[no-untyped-call]
    somebody.open()
    time.sleep(_SETTLED_SECONDS)
    entries: Sequence[dict[str, Any]] = browser.get_log("performance")  # type: ignore[no-untyped-call]
    asked: dict[str, Asked] = {}
    for entry in entries:
        message = json.loads(entry["message"])["message"]
        told = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            asked.update(_asked(told["requestId"], told["request"]))
        elif (one := asked.get(told.get("requestId"))) is None:
            continue
        elif message["method"] == "Network.responseReceived":
            one.is_stream = told["response"]["mimeType"] == _STREAM
        elif message["method"] in ("Network.loadingFinished", "Network.loadingFailed"):
            one.is_kept = False
    return list(asked.values())


def opened(stack: ExitStack, url: str, page: Sequence[Asked]) -> None:
    """Ask for the same as one more page, with a name of its own, and keep open what it did.

    Args:
        stack: closes it.
        url: of the page, without a trailing slash.
        page: what was ``recorded``.
    """
    client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
    (known,) = {found[1] for one in page if (found := _SESSION.search(one.path))}
    own = secrets.token_hex(6)
    for one in page:
        request = client.build_request(
            one.method,
            one.path.replace(known, own),
            content=None if one.body is None else one.body.replace(known, own),
            headers={} if one.content_type is None else {"Content-Type": one.content_type},
        )
        response = client.send(request, stream=one.is_stream)
        if response.status_code != httpx.codes.NOT_FOUND:
            response.raise_for_status()
        if one.is_kept:
            stack.callback(response.close)
        elif one.is_stream:
            _hear(response)


def _hear(response: httpx.Response) -> None:
    """Read a stream up to where the browser closes it."""
    for line in response.iter_lines():
        if _LAST in line:
            break
    response.close()


def _asked(identifier: str, request: dict[str, Any]) -> dict[str, Asked]:
    address = urlsplit(request["url"])
    if address.scheme != "http":
        return {}
    headers = {name.lower(): value for name, value in request["headers"].items()}
    path = f"{address.path}?{address.query}" if address.query else address.path
    one = Asked(request["method"], path, request.get("postData"), headers.get("content-type"))
    return {identifier: one}
