from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from api import request_id
from assembly import logs
from settings import Settings


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.captureWarnings(False)


def lines(capsys: pytest.CaptureFixture[str], log_format: Literal["plain", "json"]) -> list[str]:
    """Log a few things and return what was written."""
    logs.configure(Settings(log_format=log_format))
    logger = logging.getLogger("api.test")
    token = request_id.current.set("from-context")
    try:
        logger.info("one\ntwo\x1b[31m")
        logger.info("given", extra={"request_id": "from-extra"})
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("failed")
    finally:
        request_id.current.reset(token)
    logging.getLogger("bentoml.access").info("GET /")
    logger.debug("too quiet")
    return capsys.readouterr().out.splitlines()


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    written = lines(capsys, "plain")

    assert written[0].endswith(
        "INFO [" + written[0].split("[")[1].split("]")[0] + "] api.test from-context one"
    )
    assert written[1] == "    two\\x1b[31m"
    assert written[2].endswith("api.test from-extra given")
    assert written[3].endswith("api.test from-context failed")
    assert written[4].startswith("Traceback")
    assert written[-1].endswith("bentoml.access - GET /")


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    records = [json.loads(line) for line in lines(capsys, "json")]

    assert [record["message"] for record in records] == [
        "one\ntwo\x1b[31m",
        "given",
        "failed",
        "GET /",
    ]
    assert [record["request_id"] for record in records] == [
        "from-context",
        "from-extra",
        "from-context",
        "-",
    ]
    assert records[0].keys() == {"time", "level", "process", "logger", "request_id", "message"}
    assert "ValueError: broken" in records[2]["exception"]


@pytest.mark.parametrize("log_prompts", [False, True])
def test_queries_of_urls(capsys: pytest.CaptureFixture[str], log_prompts: bool) -> None:
    logs.configure(Settings(log_prompts=log_prompts))
    logger = logging.getLogger("uvicorn.access")
    logger.setLevel("INFO")
    # As uvicorn's own.
    request = ("127.0.0.1:80", "GET", "/dreambooth?prompt=a%20pear", "1.1", 200)
    logger.info('%s - "%s %s HTTP/%s" %d', *request)
    logger.filters.clear()

    query = "?prompt=a%20pear" if log_prompts else ""
    line = capsys.readouterr().out.strip()
    assert line.endswith(f'127.0.0.1:80 - "GET /dreambooth{query} HTTP/1.1" 200')
