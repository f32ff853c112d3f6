"""What the page costs: until it may be used, over the API for a picture, and by being open."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
from selenium.webdriver.chrome.webdriver import WebDriver

from benchmarks import open_pages, series
from benchmarks.contestant import ROOT
from benchmarks.killed import until
from benchmarks.server import free_port
from tests.e2e.browser import started
from tests.e2e.ui.process import PYTHON
from tests.e2e.ui.visitor import Visitor, visitor

# The bars.
USABLE_SECONDS: Final = 3.0
MOST_RATIO: Final = 1.15
MOST_BYTES: Final = 100_000_000
# Of the open ones, those of a real browser: the others do as the first of them does.
BROWSER_PAGES: Final = 5
PROMPT: Final = "a red apple on a blue background"
# From the click on the button until the picture is read.
_TIMED: Final = """
    const [button, gallery, done] = arguments;
    const began = performance.now();
    const look = ({ target: image }) => {
        if (!image.closest(`#${gallery}`) || !image.src.includes("picture/")) return;
        document.removeEventListener("load", look, true);
        done((performance.now() - began) / 1000);
    };
    document.addEventListener("load", look, true);
    document.getElementById(button).click();
"""


@dataclass(frozen=True, slots=True)
class Idle:
    """What open pages cost.

    Attributes:
        row_steps: of the denoiser, while they were open.
        per_page: bytes of the page's process for each of those in the browser, and of those whose
            requests were sent again.
        page: bytes that its process has grown by with all of them.
        service: likewise, of all its processes.
        busy: processor time of both, in seconds a second.
        kept: connections that each keeps.
    """

    row_steps: float
    per_page: tuple[float, float]
    page: int
    service: int
    busy: float
    kept: int


def command(options: argparse.Namespace) -> int:
    """``python -m benchmarks page``: prints a table; returns 1 where a bar is missed."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        browser = stack.enter_context(started())
        first = free_port()
        service, page = (f"http://127.0.0.1:{port}" for port in (first, free_port(first + 1)))
        both = stack.enter_context(_both(service, page, Path(folder), options.host))
        usable, somebody = _first(stack, browser, service, page)
        api, paged = _pictures(service, somebody, options.pairs)
        ratio = statistics.median(one / other for one, other in zip(paged, api, strict=True))
        held = _told(
            ("usable after /readyz", f"{usable:.2f} s", usable <= USABLE_SECONDS),
            ("a picture by the API, median", f"{statistics.median(api) * 1000:.0f} ms", None),
            ("by the page, from the click", f"{statistics.median(paged) * 1000:.0f} ms", None),
            ("ratio of each pair, median", f"{ratio:.3f}", ratio <= MOST_RATIO),
        )
        idle = _idle(stack, service, page, both, options)
    grown, in_browser, again = idle.page + idle.service, *idle.per_page
    held &= _told(
        (f"{options.pages} open pages: row-steps", f"{idle.row_steps:.0f}", idle.row_steps == 0),
        ("memory of page and service", f"{grown / 1e6:+.0f} MB", grown <= MOST_BYTES),
        ("of that, the page", f"{idle.page / 1e6:+.1f} MB", None),
        (f"for each of {BROWSER_PAGES} in Chromium", f"{in_browser / 1e6:+.2f} MB", None),
        ("for each of the others", f"{again / 1e6:+.2f} MB", None),
        ("connections that each keeps", f"{idle.kept}", None),
        ("processor time of both a second", f"{idle.busy * 1000:.1f} ms", None),
    )
    return 0 if held else 1


def _told(*rows: tuple[str, str, bool | None]) -> bool:
    """Print rows of the table: name, value, and whether a bar is held; returns whether all are."""
    for name, value, held in rows:
        bar = "" if held is None else "held" if held else "MISSED"
        print(f"| {name} | {value} | {bar} |", flush=True)
    return all(held is not False for _, _, held in rows)


@contextmanager
def _both(service: str, page: str, folder: Path, host: str) -> Iterator[psutil.Process]:
    """The service and the page beside it, as ``make ui`` starts them."""
    address = ("--host", "127.0.0.1", "--port", service.rpartition(":")[2])
    serve = ("bentoml", "serve", "service:svc") if host == "bentoml" else ("serving.local",)
    inherited = {name: value for name, value in os.environ.items() if name[:3] != "SD_"}
    (folder / "bentoml").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(PYTHON), "-m", "ui.beside", "--url", service),
                *("--port", page.rpartition(":")[2], "--", sys.executable, "-m", *serve, *address),
            ],
            cwd=ROOT,
            env={
                **inherited,
                "SD_STORE": str(folder / "store"),
                "BENTOML_CONFIG": str(ROOT / "configuration.yaml"),
                "BENTOML_HOME": str(folder / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _first(stack: ExitStack, browser: WebDriver, service: str, page: str) -> tuple[float, Visitor]:
    """Seconds from the service's readiness until a visitor who comes then may use the page."""
    somebody = stack.enter_context(visitor(browser, page))
    until(lambda: _is_ready(service), "the service")
    began = time.perf_counter()
    until(lambda: _is_ready(page), "the page")
    somebody.open()
    somebody.element("sd-text-make")
    return time.perf_counter() - began, somebody


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _pictures(service: str, somebody: Visitor, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of pictures by the API and by the page, in turns, each with its own seed."""
    somebody.write("sd-text-prompt", PROMPT)
    api, paged = [], []
    with httpx.Client(base_url=service, timeout=300) as client:
        for number in range(pairs + 3):
            began = time.perf_counter()
            client.post("/txt2img", json={"prompt": PROMPT, "seed": number}).raise_for_status()
            took = time.perf_counter() - began
            seconds = somebody.browser.execute_async_script(
                _TIMED, "sd-text-make", "sd-text-gallery"
            )
            if number >= 3:
                api.append(took)
                paged.append(seconds)
    return api, paged


def _idle(
    stack: ExitStack, service: str, page: str, both: psutil.Process, options: argparse.Namespace
) -> Idle:
    """What open pages cost: a few of Chromium's, and as many more as are asked for."""
    pages = [one for one in both.children() if one.cmdline()[1:3] == ["-m", "ui"]]
    others = [one for one in both.children(recursive=True) if one not in pages]
    work = _row_steps(service)
    start, of_service = _memory(pages), _memory(others)
    # Its log costs too much for what is timed.
    browser = stack.enter_context(started(logs_network=True))
    asked = open_pages.recorded(stack, browser, page)
    for _ in range(BROWSER_PAGES - 1):
        stack.enter_context(visitor(browser, page)).open()
    in_browser = _memory(pages)
    for _ in range(options.pages - BROWSER_PAGES):
        open_pages.opened(stack, page, asked)
    cpu = _processor_seconds([*pages, *others])
    time.sleep(options.seconds)
    end = _memory(pages)
    return Idle(
        row_steps=_row_steps(service) - work,
        per_page=(
            (in_browser - start) / BROWSER_PAGES,
            (end - in_browser) / (options.pages - BROWSER_PAGES),
        ),
        page=end - start,
        service=_memory(others) - of_service,
        busy=(_processor_seconds([*pages, *others]) - cpu) / options.seconds,
        kept=sum(one.is_kept for one in asked),
    )


def _memory(processes: Sequence[psutil.Process]) -> int:
    """Bytes that they have for themselves."""
    return sum(one.memory_full_info().uss for one in processes)


def _processor_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)


def _row_steps(service: str) -> float:
    """What the denoiser has done since its start."""
    samples = series.read(f"{service}/metrics")
    return sum(one.value for one in samples if one.name == "sd_row_steps_total")
