"""From a client's body to a request that is valid by construction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from api import images
from api.backend import ServedModel
from api.errors import shown
from api.limits import INPAINT_STRENGTH, MAX_SEED, RANDOM_SEED, SCHEDULER_MAX_STEPS, constraints
from api.schemas import Img2ImgBody, InpaintBody, Txt2ImgBody
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
        """Build the request for pictures from text. Raises ``RequestError``."""
        model = self._check(body)
        width = model.defaults.width if body.width is None else body.width
        height = model.defaults.height if body.height is None else body.height
        self._check_size(width, height, model)
        return self._request(body, model, request_id, width, height)

    def img2img(self, body: Img2ImgBody, data: bytes, request_id: str) -> GenerationRequest:
        """Build the request for pictures from text and picture. Raises ``RequestError``.

        Blocking, as it decodes and resizes ``data``: run it in a thread.
        """
        model = self._check(body)
        strength = model.defaults.strength if body.strength is None else body.strength
        self._check_strength(body, strength, model)
        picture = images.decode(data, self._settings.max_input_pixels, "img")
        width, height = self._size(body, picture.size, model)
        return replace(
            self._request(body, model, request_id, width, height),
            init_image=images.to_bytes(picture, width, height),
            strength=strength,
        )

    def inpaint(
        self, body: InpaintBody, data: bytes, mask_data: bytes, request_id: str
    ) -> GenerationRequest:
        """Build the request for painting a part of a picture anew. Raises ``RequestError``.

        Blocking, like ``img2img``.
        """
        model = self._check(body)
        strength = INPAINT_STRENGTH if body.strength is None else body.strength
        self._check_strength(body, strength, model)
        picture = images.decode(data, self._settings.max_input_pixels, "img")
        mask = images.decode(mask_data, self._settings.max_input_pixels, "mask").convert("L")
        if mask.size != picture.size:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"mask must have the size of img, {picture.width} x {picture.height} pixels, "
                f"got {mask.width} x {mask.height}",
                field="mask",
            )
        width, height = self._size(body, picture.size, model)
        return replace(
            self._request(body, model, request_id, width, height),
            init_image=images.to_bytes(picture, width, height),
            mask=images.to_bytes(mask, width, height),
            strength=strength,
        )

    def _check(self, body: Txt2ImgBody) -> ServedModel:
        for field, constraint in self._constraints.items():
            value = getattr(body, field, None)
            if value is not None:
                constraint.check(field, value)
        model = self._model(body)
        scheduler = body.scheduler or model.defaults.scheduler
        steps = self._steps(body, model)
        most = SCHEDULER_MAX_STEPS.get(scheduler)
        if most is not None and steps > most:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"num_inference_steps must be at most {most} with the {scheduler} scheduler, "
                f"got {steps}",
                field="num_inference_steps",
            )
        if body.seed is not None and body.seed > _last_seed(body):
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"seed must be at most {_last_seed(body)} with num_images {body.num_images}, "
                f"got {body.seed}",
                field="seed",
            )
        return model

    def _model(self, body: Txt2ImgBody) -> ServedModel:
        model = self._default if body.model is None else self._models.get(body.model)
        if model is None:
            names = ", ".join(self._models)
            raise RequestError(
                ErrorCode.NOT_FOUND,
                f"model must be one of {names}, got {shown(body.model)}",
                field="model",
            )
        if body.task not in model.tasks:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"model must be one that can do {body.task}; {model.name} can do "
                f"{', '.join(model.tasks)}",
                field="model",
            )
        return model

    def _check_strength(self, body: Img2ImgBody, strength: float, model: ServedModel) -> None:
        steps = self._steps(body, model)
        if int(steps * strength) < 1:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"num_inference_steps x strength must be at least 1, got {steps} x {strength}",
                field="strength",
            )

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

    def _size(
        self, body: Img2ImgBody, picture: tuple[int, int], model: ServedModel
    ) -> tuple[int, int]:
        """The size of the result: given, or after the input picture's. Raises ``RequestError``."""
        sides = (self._settings.min_side, self._settings.max_side)
        native = (model.defaults.width, model.defaults.height)
        match body.width, body.height:
            case int(width), int(height):
                pass
            case int(width), None:
                side = width * picture[1] / picture[0]
                height = images.nearest(side, model.multiple_of, sides)
            case None, int(height):
                side = height * picture[0] / picture[1]
                width = images.nearest(side, model.multiple_of, sides)
            case _:
                width, height = images.fit(picture, native, model.multiple_of, sides)
        self._check_size(width, height, model)
        return width, height

    def _steps(self, body: Txt2ImgBody, model: ServedModel) -> int:
        if body.num_inference_steps is None:
            return model.defaults.num_inference_steps
        return body.num_inference_steps

    def _request(
        self, body: Txt2ImgBody, model: ServedModel, request_id: str, width: int, height: int
    ) -> GenerationRequest:
        defaults = model.defaults
        guidance_scale = body.guidance_scale
        seed = body.seed
        if seed is None or seed == RANDOM_SEED:
            seed = secrets.randbelow(_last_seed(body) + 1)
        return GenerationRequest(
            request_id=request_id,
            model=model.name,
            prompt=body.prompt,
            negative_prompt=body.negative_prompt or "",
            width=width,
            height=height,
            num_inference_steps=self._steps(body, model),
            guidance_scale=defaults.guidance_scale if guidance_scale is None else guidance_scale,
            scheduler=body.scheduler or defaults.scheduler,
            seed=seed,
            num_images=body.num_images or 1,
            output_format=OutputFormat(body.output_format or OutputFormat.PNG),
            deadline=self._settings.deadline,
            wants_previews=bool(body.previews),
        )


def _last_seed(body: Txt2ImgBody) -> int:
    """The greatest seed whose pictures all have a valid one."""
    return MAX_SEED + 1 - (body.num_images or 1)
