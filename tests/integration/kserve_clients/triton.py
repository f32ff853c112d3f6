"""Triton's HTTP client: ``python triton.py HOST:PORT PICTURE`` prints what it was told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import (
    InferenceServerClient,
    InferenceServerException,
    InferInput,
    InferRequestedOutput,
)

DATATYPES = {"prompt": "BYTES", "init_image": "BYTES", "image": "BYTES", "strength": "FP32"}


def tensor(name: str, value: Any, binary: bool = True) -> InferInput:
    datatype = DATATYPES.get(name, "INT64")
    dtype = {"BYTES": np.object_, "INT64": np.int64, "FP32": np.float32}[datatype]
    described = InferInput(name, [1], datatype)
    described.set_data_from_numpy(np.array([value], dtype=dtype), binary_data=binary)
    return described


def inputs(binary: bool = True, **others: Any) -> list[InferInput]:
    given = {"prompt": b"a red apple", "num_inference_steps": 2, "seed": 7, **others}
    return [tensor(name, value, binary) for name, value in given.items()]


def error_of(work: Callable[[], Any]) -> tuple[str, str]:
    """The status and the message that work fails with."""
    try:
        work()
    except InferenceServerException as failure:
        return str(failure.status()), str(failure.message())
    return "", ""


def main(host: str, picture: bytes) -> None:
    client = InferenceServerClient(host, network_timeout=120, connection_timeout=120)
    defaults = client.infer("embedded", inputs(), request_id="mine")
    compressed = {
        algorithm: client.infer(
            "embedded",
            inputs(),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        for algorithm in ("gzip", "deflate")
    }
    as_json = client.infer(
        "embedded",
        inputs(binary=False),
        outputs=[InferRequestedOutput("seeds", binary_data=False)],
        parameters={"guidance_scale": 3.0},
    )
    pixels = client.infer(
        "embedded",
        inputs(init_image=picture, strength=1.0, width=64, height=72),
        model_version="1",
        outputs=[InferRequestedOutput("pixels", binary_data=True)],
    ).as_numpy("pixels")
    labels = client.infer("classifier", [tensor("image", picture)])
    # What is there already; others use it.
    client.load_model("embedded")
    refused = error_of(lambda: client.unload_model("classifier"))
    error = error_of(lambda: client.infer("embedded", inputs(width=65)))
    image = defaults.as_numpy("images")[0]
    print(
        json.dumps(
            {
                "live": client.is_server_live(),
                "ready": client.is_server_ready(),
                "model_ready": client.is_model_ready("embedded", "1"),
                "unknown_ready": client.is_model_ready("unknown"),
                "server": client.get_server_metadata()["extensions"],
                "metadata": client.get_model_metadata("embedded")["inputs"][0],
                "config": client.get_model_config("embedded", "1")["input"][0],
                "index": client.get_model_repository_index(),
                "id": defaults.get_response()["id"],
                "image": image.hex(),
                "compressed": [
                    result.as_numpy("images")[0] == image for result in compressed.values()
                ],
                "seeds": as_json.as_numpy("seeds").tolist(),
                "pixels": [list(pixels.shape), str(pixels.dtype), int(pixels.max())],
                "labels": [label.decode() for label in labels.as_numpy("labels")],
                "scores": labels.as_numpy("scores").tolist(),
                "error": error,
                "unload_error": refused,
            }
        )
    )


main(sys.argv[1], Path(sys.argv[2]).read_bytes())
