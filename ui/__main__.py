"""``python -m ui``: the page of a service that runs."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

# Before Gradio is imported, which reads them: nothing is told or fetched.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
# What visitors put onto the page is for no other user of the machine, and goes with the page.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="stable-diffusion-page-")

import httpx
import uvicorn

from ui import server
from ui.doors import is_loopback
from ui.refusal import Refusal
from ui.service import Service

# Pages that are open hold a stream each, and would never let go.
_STOP_SECONDS: Final = 1


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; what is not there comes from the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m ui", description="A page for a service of pictures, in the browser."
    )
    given = os.environ.get
    parser.add_argument(
        "--url",
        default=given("SD_URL", "http://127.0.0.1:3000"),
        help="of the service (SD_URL)",
    )
    parser.add_argument(
        "--key",
        default=given("SD_KEY") or None,
        help="that all visitors act with; without, each enters his own, where the service wants "
        "one (SD_KEY, which other users of the machine do not see)",
    )
    parser.add_argument("--host", default=given("UI_HOST", "127.0.0.1"), help="(UI_HOST)")
    parser.add_argument("--port", type=int, default=given("UI_PORT", "7860"), help="(UI_PORT)")
    parser.add_argument(
        "--share-key",
        action="store_true",
        default=given("UI_SHARE_KEY", "").lower() in {"1", "true", "yes"},
        help="let everyone who opens the page act with the key, on an address that is not a "
        "loopback one (UI_SHARE_KEY)",
    )
    parser.add_argument(
        "--allowed-hosts",
        default=given("UI_ALLOWED_HOSTS", ""),
        help="names that the page is called by, comma-separated, beside those of this machine, "
        "behind a proxy (UI_ALLOWED_HOSTS)",
    )
    return parser.parse_args(arguments)


def refusal(chosen: argparse.Namespace) -> str | None:
    """Why the page is not served so; None where it is."""
    if not _is_url(chosen.url):
        return f"--url must be like http://127.0.0.1:3000 or https://example.com, got {chosen.url}"
    if chosen.key and not chosen.share_key and not is_loopback(chosen.host):
        return (
            f"On {chosen.host} everyone who opens the page would act with the key. Leave it out, "
            "so that each visitor enters his own, or add --share-key (UI_SHARE_KEY=true)."
        )
    return None


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host) and (url.port or 0) < 2**16


async def state(service: Service) -> str | None:
    """What is to be said about the service before the page is there; None where nothing is."""
    try:
        await service.session().served()
    except Refusal as refused:
        if refused.wants_key and service.key is None:
            return "The service wants a key: visitors are asked for their own."
        why = f" ({refused.__cause__})" if refused.__cause__ else ""
        return f"{refused.sentence}{why} The page says so too, until that changes."
    finally:
        await service.close()
    return None


def is_told(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's is logged: not where the end cuts off what a page listens to."""
    if record.exc_info:
        return not isinstance(record.exc_info[1], asyncio.CancelledError)
    return not str(record.msg).startswith("Cancel ")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until SIGTERM or SIGINT."""
    chosen = options(arguments)
    if (why := refusal(chosen)) is not None:
        sys.exit(why)
    if (told := asyncio.run(state(Service(chosen.url, chosen.key)))) is not None:
        print(f"{chosen.url}: {told}", file=sys.stderr)
    names = frozenset(name.strip() for name in chosen.allowed_hosts.split(",") if name.strip())
    page = server.create(Service(chosen.url, chosen.key), chosen.host, names)
    shown = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    print(f"The page is at http://{shown}:{chosen.port}", flush=True)
    logging.getLogger("uvicorn.error").addFilter(is_told)
    # uvicorn raises the signal again when it is done; that ends the process with 0, as asked.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    uvicorn.run(
        page,
        host=chosen.host,
        port=chosen.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    shutil.rmtree(os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)


if __name__ == "__main__":
    main()
