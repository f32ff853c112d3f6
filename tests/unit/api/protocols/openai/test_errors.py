"""Errors: each row of the table in OpenAI's words, whoever made it."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from api.drain import Drain
from api.errors import STATUS
from api.protocols.openai import errors
from contract.errors import ErrorCode, RequestError
from contract.events import Failed
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.protocols.openai.conftest import EDITS, GENERATIONS, error_of, generate

TYPES = {
    ErrorCode.UNAUTHORIZED: "authentication_error",
    ErrorCode.FORBIDDEN: "permission_error",
    ErrorCode.BUSY: "rate_limit_error",
    ErrorCode.CONTENT_POLICY_VIOLATION: "image_generation_user_error",
    ErrorCode.INTERNAL: "server_error",
    ErrorCode.NOT_READY: "server_error",
    ErrorCode.DEADLINE_EXCEEDED: "server_error",
    ErrorCode.STORAGE_FULL: "server_error",
}


def test_every_row(client: TestClient, backend: ColourBackend) -> None:
    """What the engine fails with; 499 is for a client that has left."""
    backend.refused = True
    for code, status in STATUS.items():
        backend.failure = Failed(code, "a sentence", "seed", retry_after=20)
        for fields in ({}, {"stream": True}):
            response = generate(client, **fields)
            assert response.status_code == (400 if status == 422 else status), code
            error = error_of(response)
            internal = code is ErrorCode.INTERNAL
            assert error["message"] == ("internal error" if internal else "a sentence")
            assert error["param"] == (None if internal else "seed")
            assert error["type"] == TYPES.get(code, "invalid_request_error")
            retried = code in (ErrorCode.BUSY, ErrorCode.NOT_READY, ErrorCode.STORAGE_FULL)
            assert response.headers.get("retry-after") == ("20" if retried else None)
            late = code is ErrorCode.DEADLINE_EXCEEDED
            assert response.headers.get("x-should-retry") == ("false" if late else None)


def test_a_fault_shows_nothing(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = ValueError("/etc/secret")
    response = generate(client)

    assert response.status_code == 500
    assert error_of(response)["message"] == "internal error"
    assert "secret" not in response.text


def test_other_models(client: TestClient) -> None:
    """``dall-e-2`` is another name of a model that is not served."""
    for name in ("dall-e-3", "dall-e-2", "classifier", ""):
        response = generate(client, model=name)
        assert response.status_code == 404
        error = error_of(response)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert error["type"] == "invalid_request_error"


def test_what_middlewares_and_routes_refuse(client: TestClient, drain: Drain) -> None:
    json = {"Content-Type": "application/json"}
    body = b'{"prompt": "x"}'
    refused = [
        (client.post(GENERATIONS, content=body), 415),
        (client.post(EDITS, content=body, headers={"Content-Type": "text/plain"}), 415),
        (client.post(GENERATIONS, content=bytes(100_000), headers=json), 413),
        (client.post(EDITS, content=bytes(2_000_000), headers=json), 413),
        (client.post(GENERATIONS, content=b"{", headers=json), 400),
        (client.post(GENERATIONS, content=body, headers={**json, "Origin": "https://a.b"}), 403),
        (client.post(GENERATIONS, content=body, headers={**json, "Host": "a b"}), 400),
        (client.get(GENERATIONS), 405),
        (client.post("/v1/chat/completions", json={}), 404),
        (client.get("/v1"), 404),
        (client.delete("/v1/models/tiny"), 405),
    ]
    drain.start()
    refused.append((client.post(GENERATIONS, content=body, headers=json), 503))
    for response, status in refused:
        assert response.status_code == status
        error_of(response)
    assert refused[7][0].headers["allow"] == "POST"
    assert "retry-after" in refused[-1][0].headers
    # KServe's own paths have KServe's body.
    assert isinstance(client.post("/v1/models/tiny:predict", json={}).json()["error"], str)


def test_errors_of_further_middlewares(app: FastAPI, backend: ColourBackend) -> None:
    """One that asks for keys, say: what it raises is rendered like everything else."""

    class Refusal:
        def __init__(self, app: ASGIApp) -> None:
            pass

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise RequestError(ErrorCode.UNAUTHORIZED, "there must be a key")

    app.user_middleware.append(Middleware(Refusal))
    # The lifespan is none of its business.
    response = generate(TestClient(app, raise_server_exceptions=False))
    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"
    assert not backend.requests


def test_codes() -> None:
    """Only of the model itself."""
    other = RequestError(ErrorCode.NOT_FOUND, "no such LoRA", field="loras.0.name")
    assert errors.body(other).error.code == "not_found"
