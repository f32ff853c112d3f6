"""What surrounds the pictures, on each host: models, document, page, probes, metrics, logs."""

from __future__ import annotations

from typing import Any

from tests.integration.server import Server, wait_until

STYLES = "/static_content/swagger-ui.css"
METRICS = {
    "sd_queue_depth",
    "sd_jobs_total",
    "sd_step_batch_size_bucket",
    "sd_step_seconds_bucket",
    "sd_job_phase_seconds_bucket",
}


def test_models(any_host: Server) -> None:
    body = any_host.client.get("/models").json()

    (model,) = body["models"]
    assert (model["name"], model["default"], model["precision"]) == ("embedded", True, "fp32")
    assert model["licence"]
    assert model["tasks"] == ["txt2img", "img2img", "inpaint"]
    assert model["defaults"].keys() >= {
        *("width", "height", "num_inference_steps", "guidance_scale", "strength", "scheduler")
    }
    assert "dpmpp_2m" in body["schedulers"]


def test_the_document_is_the_sites(any_host: Server) -> None:
    # Takes seconds.
    from openapi_spec_validator import validate

    document = any_host.client.get("/docs.json").json()

    validate(document)
    assert {"/txt2img", "/img2img", "/inpaint", "/models"} <= set(document["paths"])


def test_the_document_is_the_same_on_each_host(server: Server, bentoml_server: Server) -> None:
    assert server.client.get("/docs.json").json() == bentoml_server.client.get("/docs.json").json()


def test_the_page_and_its_files_come_from_here(any_host: Server) -> None:
    page = any_host.client.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert "googletagmanager" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"./static_content/{name}" in page.text
        assert any_host.client.get(f"/static_content/{name}").status_code == 200


def test_probes(any_host: Server) -> None:
    for path in ("/livez", "/healthz", "/readyz"):
        assert any_host.client.get(path).status_code == 200


def test_metrics(any_host: Server) -> None:
    done = any_host.metric("sd_jobs_total", outcome="ok")
    any_host.client.post("/txt2img", json={"prompt": "x", "num_inference_steps": 3})

    text = any_host.client.get("/metrics").text
    names = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines()}
    assert names >= METRICS
    assert any_host.metric("sd_jobs_total", outcome="ok") == done + 1
    for phase in ("queue", "prepare", "denoise", "decode", "encode"):
        assert any_host.metric("sd_job_phase_seconds_count", phase=phase) > 0


def test_bentoml_measures_its_endpoints(bentoml_server: Server) -> None:
    bentoml_server.client.post("/txt2img", json={"prompt": "x", "num_inference_steps": 1})
    assert bentoml_server.metric("bentoml_api_server_request_total", endpoint="/txt2img") > 0


def test_paths_of_scanners_do_not_pile_up_in_the_metrics(bentoml_server: Server) -> None:
    assert bentoml_server.client.get("/wp-login.php").status_code == 404
    assert "wp-login" not in bentoml_server.client.get("/metrics").text


def test_log_lines_carry_the_request_id_in_every_process(
    server: Server, bentoml_server: Server
) -> None:
    name = "find-me-in-the-log"
    body = {"prompt": "x", "num_inference_steps": 1}

    def loggers(host: Server) -> set[Any]:
        lines = [line for line in host.log.read_text().splitlines() if name in line]
        return {line.split()[3] for line in lines}

    for host, access in ((server, "uvicorn.access"), (bentoml_server, "bentoml.access")):
        response = host.client.post("/txt2img", json=body, headers={"X-Request-Id": name})
        assert response.headers["x-request-id"] == name
        wait_until(lambda: {access, "engine.engine"} <= loggers(host), "both log lines")  # noqa: B023


def test_names_of_others_are_refused_over_loopback(any_host: Server) -> None:
    for path in (
        "/",
        "/livez",
        "/models",
        "/metrics",
        "/txt2img",
        "/static_content/swagger-ui.css",
    ):
        response = any_host.client.get(path, headers={"Host": "evil.test"})
        assert response.status_code == 403, path
        assert response.json()["error"]["field"] == "Host"
    assert any_host.client.get("/livez", headers={"Host": "localhost"}).status_code == 200


def test_other_sites_are_refused_everywhere(any_host: Server) -> None:
    for path in ("/", "/livez", "/metrics", "/txt2img", STYLES, "/no"):
        response = any_host.client.get(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 403, path
        assert response.json()["error"]["code"] == "forbidden"


def test_every_response_has_the_headers_for_browsers(any_host: Server) -> None:
    for path in ("/", "/livez", "/metrics", "/txt2img", STYLES, "/no"):
        headers = any_host.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path


def test_nothing_is_redirected(any_host: Server) -> None:
    for path in ("/txt2img/", "/models/", "/livez/", "/static_content", "/docs.json/"):
        for method in ("GET", "POST"):
            response = any_host.client.request(method, path, headers={"Host": "localhost"})
            assert response.status_code == 404, (method, path)
            assert response.json()["error"]["code"] == "not_found"


def test_allow_lists_all_methods(any_host: Server) -> None:
    for path, methods in (("/dreambooth", "GET, POST"), ("/txt2img", "POST"), ("/models", "GET")):
        response = any_host.client.delete(path)
        assert response.status_code == 405
        assert response.headers["allow"] == methods
