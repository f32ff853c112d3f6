"""From a client's body to a request that is valid by construction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from api import images
from api.backend import ServedModel
from api.errors import shown
from api.limits import MAX_SEED, RANDOM_SEED, SCHEDULER_MAX_STEPS, constraints
from api.schemas import Img2ImgBody, Txt2ImgBody
from engine.errors import ErrorCode, RequestError
from engine.request import GenerationRequest, OutputFormat
from settings import Settings


class Admission:
    """Checks bodies against the limits and fills in the defaults of the model they name.

    Args:
        settings: the limits.
        models: what is served; the first is the default.
    """

    def __init__(self, settings: Settings, models: Sequence[ServedModel]) -> None:
        self._settings = settings
        self._models = {model.name: model for model in models}
        self._default = models[0]
        self._constraints = constraints(settings)

    def txt2img(self, body: Txt2ImgBody, request_id: str) -> GenerationRequest:
        """Build the request for a picture from text. Raises ``RequestError``."""
        model = self._check(body)
        width = model.width if body.width is None else body.width
        height = model.height if body.height is None else body.height
        self._check_size(width, height, model)
        return self._request(body, model, request_id, width, height)

    def img2img(self, body: Img2ImgBody, data: bytes, request_id: str) -> GenerationRequest:
        """Build the request for a picture from text and picture. Raises ``RequestError``.

        Blocking, as it decodes and resizes ``data``: run it in a thread.
        """
        model = self._check(body)
        picture = images.decode(data, self._settings.max_input_pixels, "img")
        width, height = self._img2img_size(body, picture.size, model)
        self._check_size(width, height, model)
        strength = model.strength if body.strength is None else body.strength
        steps = self._steps(body, model)
        if int(steps * strength) < 1:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"num_inference_steps x strength must be at least 1, got {steps} x {strength}",
                field="strength",
            )
        pixels = images.to_bytes(picture, width, height)
        return self._request(body, model, request_id, width, height, pixels, strength)

    def _check(self, body: Txt2ImgBody) -> ServedModel:
        for field, constraint in self._constraints.items():
            value = getattr(body, field, None)
            if value is not None:
                constraint.check(field, value)
        model = self._default if body.model is None else self._models.get(body.model)
        if model is None:
            names = ", ".join(self._models)
            raise RequestError(
                ErrorCode.NOT_FOUND,
                f"model must be one of {names}, got {shown(body.model)}",
                field="model",
            )
        scheduler = body.scheduler or model.scheduler
        steps = self._steps(body, model)
        most = SCHEDULER_MAX_STEPS.get(scheduler)
        if most is not None and steps > most:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"num_inference_steps must be at most {most} with the {scheduler} scheduler, "
                f"got {steps}",
                field="num_inference_steps",
            )
        return model

    def _check_size(self, width: int, height: int, model: ServedModel) -> None:
        for field, side in (("width", width), ("height", height)):
            if side % model.multiple_of:
                raise RequestError(
                    ErrorCode.OUT_OF_RANGE,
                    f"{field} must be a multiple of {model.multiple_of}, got {side}",
                    field=field,
                )
        if width * height > self._settings.max_pixels:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"width x height must be at most {self._settings.max_pixels} pixels, "
                f"got {width} x {height}",
                field="width",
            )

    def _img2img_size(
        self, body: Img2ImgBody, picture: tuple[int, int], model: ServedModel
    ) -> tuple[int, int]:
        sides = (self._settings.min_side, self._settings.max_side)
        if body.width is not None and body.height is not None:
            return body.width, body.height
        if body.width is not None:
            height = body.width * picture[1] / picture[0]
            return body.width, images.nearest(height, model.multiple_of, sides)
        if body.height is not None:
            width = body.height * picture[0] / picture[1]
            return images.nearest(width, model.multiple_of, sides), body.height
        return images.fit(picture, (model.width, model.height), model.multiple_of, sides)

    def _steps(self, body: Txt2ImgBody, model: ServedModel) -> int:
        if body.num_inference_steps is None:
            return model.num_inference_steps
        return body.num_inference_steps

    def _request(
        self,
        body: Txt2ImgBody,
        model: ServedModel,
        request_id: str,
        width: int,
        height: int,
        init_image: bytes | None = None,
        strength: float | None = None,
    ) -> GenerationRequest:
        guidance_scale = body.guidance_scale
        seed = body.seed
        if seed is None or seed == RANDOM_SEED:
            seed = secrets.randbelow(MAX_SEED + 1)
        return GenerationRequest(
            request_id=request_id,
            model=model.name,
            prompt=body.prompt,
            negative_prompt=body.negative_prompt or "",
            width=width,
            height=height,
            num_inference_steps=self._steps(body, model),
            guidance_scale=model.guidance_scale if guidance_scale is None else guidance_scale,
            scheduler=body.scheduler or model.scheduler,
            seed=seed,
            init_image=init_image,
            strength=strength,
            output_format=OutputFormat(body.output_format or OutputFormat.PNG),
            deadline=self._settings.deadline,
        )
