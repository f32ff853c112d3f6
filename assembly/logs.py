"""Log lines, plain or JSON, that carry the id of the request they are about."""

from __future__ import annotations

import json
import logging
import logging.config
import warnings
from datetime import UTC, datetime
from typing import Any

from api import request_id
from assembly.log_rate import RateLimit
from settings import Settings

_OURS = ("api", "assembly", "deployment", "engine", "models", "runners", "serving", "templating")
# A path or a message may hold a client's bytes: they must not pass for a line of their own.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL[ord("\n")] = "\n    "
# How those lines begin that can be caused without end, by logger.
_LIMITED = {
    # asyncio writes up to a backlog of them a second while all file descriptors are in use.
    "asyncio": "socket.accept() out of system resource",
    "serving.connections": "all places for connections are taken",
    "serving.metrics_files": "a measurement is left out",
    "uvicorn.error": "Invalid HTTP request received",
}


class _RequestId(logging.Filter):
    """Adds the current request's id, where the line does not come with one."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = request_id.current.get()
        return True


class _WithoutQuery(logging.Filter):
    """Takes the query out of uvicorn's access lines: ``/dreambooth`` has a prompt there."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                each.partition("?")[0] if isinstance(each, str) else each for each in record.args
            )
        return True


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = _time(record)
        message = record.getMessage().translate(_CONTROL)
        line = (
            f"{time} {record.levelname} [{record.process}] {record.name} "
            f"{getattr(record, 'request_id', '-')} {message}"
        )
        trace = _trace(self, record)
        return f"{line}\n{trace}" if trace else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time(record),
            "level": record.levelname,
            "process": record.process,
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        trace = _trace(self, record)
        if trace:
            fields["exception"] = trace
        return json.dumps(fields)


def configure(settings: Settings) -> None:
    """Set up logging for this process. BentoML has set up its own before: this replaces it."""
    # Said once a process, about every service and runner of the API that this one is made with.
    warnings.filterwarnings("ignore", r".* is deprecated since BentoML v1\.4")
    logging.captureWarnings(True)
    formatter = _Json if settings.log_format == "json" else _Plain
    loggers: dict[str, dict[str, Any]] = {
        **{name: {"level": settings.log_level} for name in _OURS},
        # BentoML gave it a handler of its own.
        "bentoml": {"level": settings.log_level, "handlers": [], "propagate": True},
        **{
            name: {"level": "WARNING", "handlers": [], "propagate": True}
            for name in ("uvicorn.error", "circus")
        },
        # It warns of every form that a client has got wrong.
        "python_multipart": {"level": "ERROR"},
    }
    for name in _LIMITED:
        loggers.setdefault(name, {})["filters"] = [name]
    loggers["uvicorn.access"] = {"filters": [] if settings.log_prompts else ["without_query"]}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {
                "request_id": {"()": _RequestId},
                "without_query": {"()": _WithoutQuery},
                **{
                    name: {"()": RateLimit, "beginning": beginning}
                    for name, beginning in _LIMITED.items()
                },
            },
            "formatters": {"line": {"()": formatter}},
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "filters": ["request_id"],
                    "formatter": "line",
                }
            },
            "loggers": loggers,
            "root": {"level": "WARNING", "handlers": ["stdout"]},
        }
    )


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""
