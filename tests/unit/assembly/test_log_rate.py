from __future__ import annotations

import logging

import pytest

from assembly import logs
from assembly.log_rate import RateLimit
from settings import Settings


def test_a_line_passes_once_in_a_while_with_the_number_of_those_left_out() -> None:
    now = 100.0
    limit = RateLimit("too many", 10, lambda: now)

    def log(message: str) -> str | None:
        record = logging.LogRecord("x", logging.WARNING, "", 0, message, (7,), None)
        return record.getMessage() if limit.filter(record) else None

    assert log("too many: %d") == "too many: 7"
    assert [log("too many: %d") for _ in range(3)] == [None] * 3
    assert log("another: %d") == "another: 7"
    now = 110.0
    assert log("too many: %d") == "too many: 7 (3 more such lines are left out)"
    now = 120.0
    assert log("too many: %d") == "too many: 7"


@pytest.mark.parametrize(
    ("logger", "line"),
    [
        ("asyncio", "socket.accept() out of system resource\nsocket: <TransportSocket fd=7>"),
        ("uvicorn.error", "Invalid HTTP request received."),
    ],
)
def test_what_clients_can_cause_is_logged_at_a_rate(
    logger: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    try:
        logs.configure(Settings())
        for _ in range(100):
            logging.getLogger(logger).error(line)
        assert capsys.readouterr().out.count(line.splitlines()[0]) == 1
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        logging.captureWarnings(False)
        for name in logs._LIMITED:
            logging.getLogger(name).filters.clear()
