"""What surrounds the pictures: models, document, page, probes, metrics, logs."""

from __future__ import annotations

from typing import Any

from openapi_spec_validator import validate

from tests.integration.server import Server, wait_until

METRICS = {
    "sd_queue_depth",
    "sd_jobs_total",
    "sd_step_batch_size_bucket",
    "sd_step_seconds_bucket",
    "sd_job_phase_seconds_bucket",
}


def test_models(server: Server) -> None:
    body = server.client.get("/models").json()

    (model,) = body["models"]
    assert (model["name"], model["default"], model["precision"]) == ("embedded", True, "fp32")
    assert model["licence"]
    assert model["tasks"] == ["txt2img", "img2img", "inpaint"]
    assert model["defaults"].keys() == {
        *("width", "height", "num_inference_steps", "guidance_scale", "strength", "scheduler")
    }
    assert "dpmpp_2m" in body["schedulers"]


def test_the_document_is_the_mounted_applications(server: Server) -> None:
    document = server.client.get("/docs.json").json()

    validate(document)
    assert {"/txt2img", "/img2img", "/inpaint", "/models"} <= set(document["paths"])


def test_the_page_and_its_files_come_from_here(server: Server) -> None:
    page = server.client.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert "googletagmanager" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"./static_content/{name}" in page.text
        assert server.client.get(f"/static_content/{name}").status_code == 200


def test_probes(server: Server) -> None:
    for path in ("/livez", "/healthz", "/readyz"):
        assert server.client.get(path).status_code == 200


def test_metrics(server: Server) -> None:
    done = server.metric("sd_jobs_total", outcome="ok")
    server.client.post("/txt2img", json={"prompt": "x", "num_inference_steps": 3})

    text = server.client.get("/metrics").text
    names = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines()}
    assert names >= METRICS
    assert server.metric("sd_jobs_total", outcome="ok") == done + 1
    for phase in ("queue", "prepare", "denoise", "decode", "encode"):
        assert server.metric("sd_job_phase_seconds_count", phase=phase) > 0
    # BentoML's own, per endpoint and status.
    assert server.metric("bentoml_api_server_request_total", endpoint="/txt2img") > 0


def test_paths_of_scanners_do_not_pile_up_in_the_metrics(server: Server) -> None:
    assert server.client.get("/wp-login.php").status_code == 404
    assert "wp-login" not in server.client.get("/metrics").text


def test_log_lines_carry_the_request_id_in_both_processes(server: Server) -> None:
    name = "find-me-in-the-log"
    body = {"prompt": "x", "num_inference_steps": 1}
    response = server.client.post("/txt2img", json=body, headers={"X-Request-Id": name})
    assert response.headers["x-request-id"] == name

    def loggers() -> set[Any]:
        lines = [line for line in server.log.read_text().splitlines() if name in line]
        return {line.split()[3] for line in lines}

    wait_until(lambda: {"bentoml.access", "engine.engine"} <= loggers(), "both log lines")
