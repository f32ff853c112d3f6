"""What the servers' denoisers did, read from a ledger and from metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

from benchmarks.work import Ledger, Metrics

METRICS = """\
# TYPE sd_row_steps counter
sd_row_steps_total{{outcome="useful"}} {useful}
sd_row_steps_total{{outcome="abandoned"}} 4.0
sd_row_steps_total{{outcome="wasted"}} 6.0
sd_row_steps_total{{outcome="padding"}} {padding}
# TYPE sd_step_batch_size histogram
sd_step_batch_size_bucket{{le="1.0"}} {ones}
sd_step_batch_size_bucket{{le="2.0"}} {ones}
sd_step_batch_size_bucket{{le="3.0"}} 9.0
sd_step_batch_size_bucket{{le="4.0"}} 9.0
sd_step_batch_size_bucket{{le="6.0"}} 9.0
sd_step_batch_size_bucket{{le="8.0"}} 9.0
sd_step_batch_size_bucket{{le="12.0"}} 9.0
sd_step_batch_size_bucket{{le="16.0"}} 9.0
sd_step_batch_size_bucket{{le="24.0"}} 9.0
sd_step_batch_size_bucket{{le="32.0"}} 9.0
sd_step_batch_size_bucket{{le="64.0"}} 9.0
sd_step_batch_size_bucket{{le="+Inf"}} 9.0
"""


def test_a_pass_for_a_client_who_had_left_is_wasted(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    path.write_text(f"{monotonic() - 1} 8 1 2 3 4\n")
    ledger.begin()
    now = monotonic()
    path.write_text(
        path.read_text() + f"{now + 1} 4 7 8\n{now + 2} 4 7 8\n{now + 3} 1 9\n", encoding="ascii"
    )
    work = ledger.work({7: now + 1.5, 9: now + 5})
    assert work.row_steps == 9
    assert work.wasted == 2
    assert work.padding == 0
    assert work.passes == {1: 1, 2: 2}


def test_a_server_that_made_no_pass_has_no_ledger(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none").work({}).row_steps == 0


def test_metrics_are_counted_from_the_beginning_of_the_round() -> None:
    pages = [
        METRICS.format(useful=100.0, padding=2.0, ones=5.0),
        METRICS.format(useful=140.0, padding=3.0, ones=7.0),
    ]
    with _serving(pages) as url:
        metrics = Metrics(url)
        metrics.begin()
        work = metrics.work({})
    assert work.row_steps == 41
    assert work.padding == 1
    assert work.wasted == 0
    assert work.passes == {1: 2}


def test_the_measurements_of_another_host_have_a_prefix() -> None:
    pages = [METRICS.format(useful=useful, padding=1.0, ones=3.0) for useful in (20.0, 50.0)]
    with _serving([page.replace("sd_", "ray_sd_") for page in pages]) as url:
        metrics = Metrics(url, "ray_")
        metrics.begin()
        assert metrics.work({}).row_steps == 30


@contextmanager
def _serving(pages: list[str]) -> Iterator[str]:
    left = iter(pages)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(next(left).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
