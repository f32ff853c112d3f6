"""The REST client of KServe's SDK: ``python rest.py URL PICTURE`` prints what it was told."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from httpx import HTTPStatusError
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

PROMPT = "a red apple on a blue background"


def tensor(name: str, value: Any, datatype: str, binary: bool = True) -> InferInput:
    dtype = {"BYTES": np.object_, "INT64": np.int64, "FP32": np.float32}[datatype]
    array: Any = np.array([value], dtype=dtype)
    described = InferInput(name, [1], datatype)
    described.set_data_from_numpy(array, binary_data=binary)
    return described


def inputs(binary: bool = True) -> list[InferInput]:
    return [
        tensor("prompt", PROMPT.encode(), "BYTES", binary),
        tensor("num_inference_steps", 2, "INT64", binary),
        tensor("guidance_scale", 3.3, "FP32", binary),
        tensor("seed", 7, "INT64", binary),
    ]


async def v1(url: str, picture: bytes) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        body = {
            "prompt": PROMPT,
            "num_inference_steps": 2,
            "guidance_scale": 3.3,
            "seed": 7,
        }
        made = await client.infer(url, {"instances": [body]}, model_name="embedded")
        image = base64.b64encode(picture).decode()
        labels = await client.infer(
            url, {"instances": [{"image": {"b64": image}}]}, model_name="classifier"
        )
        return {
            "ready": await client.is_model_ready(url, "embedded"),
            "made": [one["images"][0]["data"] for one in made["predictions"]],
            "labels": [one["label"] for one in labels["predictions"][0]["predictions"]],
        }


async def v2(url: str, picture: bytes) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        async def infer(request: InferRequest) -> Any:
            return await client.infer(url, request, model_name=request.model_name)

        as_json = await infer(InferRequest("embedded", inputs(binary=False)))
        as_binary = await infer(
            InferRequest(
                "embedded",
                [*inputs(), tensor("init_image", picture, "BYTES")],
                request_outputs=[RequestedOutput("pixels", {"binary_data": True})],
                parameters={"strength": 1.0, "width": 64, "height": 72},
            )
        )
        labels = await infer(InferRequest("classifier", [tensor("image", picture, "BYTES")]))
        try:
            await infer(InferRequest("embedded", inputs()[1:]))
            error = ""
        except HTTPStatusError as failure:
            error = str(failure)
        pixels = as_binary.get_output_by_name("pixels").as_numpy()
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, "embedded"),
            "unknown_ready": await client.is_model_ready(url, "unknown"),
            "image": as_json.get_output_by_name("images").data[0],
            "pixels": [list(pixels.shape), str(pixels.dtype), int(pixels.max())],
            "labels": labels.get_output_by_name("labels").data,
            "error": error,
        }


async def main(url: str, picture: bytes) -> None:
    print(json.dumps({"v1": await v1(url, picture), "v2": await v2(url, picture)}))


asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
