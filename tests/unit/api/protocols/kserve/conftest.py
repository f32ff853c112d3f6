"""An application with KServe's protocols, and with OpenAI's, which has the models of version 1."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

from starlette.testclient import TestClient

from tests.unit.api.protocols.neighbours import protocols

__all__ = ["protocols"]

LENGTH: Final = "Inference-Header-Content-Length"
URL: Final = "/v2/models/tiny/infer"


def tensor(name: str, value: Any, datatype: str = "BYTES") -> dict[str, Any]:
    """A tensor with its elements in the JSON."""
    data = value if isinstance(value, list) else [value]
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


PROMPT: Final = tensor("prompt", "a pear")


def infer(client: TestClient, *tensors: dict[str, Any], model: str = "tiny", **fields: Any) -> Any:
    """The response to an inference request whose body is JSON."""
    return client.post(f"/v2/models/{model}/infer", json={"inputs": list(tensors), **fields})


def outputs(response: Any) -> dict[str, list[Any]]:
    """The data of the outputs in a JSON response, by name."""
    assert response.status_code == 200, response.text
    return {one["name"]: one["data"] for one in response.json()["outputs"]}


def error_of(response: Any) -> dict[str, str]:
    """The error of a response. Of a path that is OpenAI's as well, it is in OpenAI's words."""
    body = response.json()
    path = response.request.url.path
    if path.startswith("/v1/") and ":" not in path:
        error = body["error"]
        return {"error": error["message"], "code": error["code"], "field": error["param"]}
    assert isinstance(body["error"], str)
    assert body["request_id"] == response.headers["x-request-id"]
    return dict(body)


def binary(client: TestClient, inputs: list[dict[str, Any]], data: bytes, **fields: Any) -> Any:
    """The response to a request with binary data, sent as tritonclient does: without a type."""
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return client.post(URL, content=head + data, headers={LENGTH: str(len(head))})


def bytes_tensor(name: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    packed = struct.pack("<I", len(data)) + data
    size = {"binary_data_size": len(packed)}
    return {"name": name, "shape": [1], "datatype": "BYTES", "parameters": size}, packed
