"""From a client's body to a request that is valid by construction."""

from __future__ import annotations

import secrets
from dataclasses import replace

from api import images
from api.backend import ServedModel
from api.limits import INPAINT_STRENGTH, MAX_SEED, RANDOM_SEED, constraints
from api.schemas import DreamboothQuery, Img2ImgBody, InpaintBody, Txt2ImgBody
from api.served_models import ModelChoice, ServedModels
from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest, OutputFormat
from models.architectures import SCHEDULER_MAX_STEPS
from models.finetuned import AUTO
from settings import Settings
from templating.expansion import expand
from templating.wildcards import NO_WILDCARDS, Wildcards


class Validation:
    """Checks bodies against the limits and fills in the defaults of the model they name.

    Args:
        settings: the limits.
        served: what is served.
        wildcards: what templates may name.
    """

    def __init__(
        self, settings: Settings, served: ServedModels, wildcards: Wildcards = NO_WILDCARDS
    ) -> None:
        self._settings = settings
        self._lineup = served
        self._wildcards = wildcards
        self._constraints = constraints(settings)

    def txt2img(self, body: Txt2ImgBody, request_id: str) -> GenerationRequest:
        """Build the request for pictures from text. Raises ``RequestError``.

        Blocking where the prompt is to be expanded: then run it in a thread.
        """
        choice = self._check(body)
        width, height = self._drawn_size(body, choice.model, ("width", "height"))
        return self._request(body, choice, request_id, width, height)

    def dreambooth(self, query: DreamboothQuery, request_id: str) -> GenerationRequest:
        """Build the request for a picture of the model that the prompt belongs to.

        Raises ``RequestError``.
        """
        side = query.img_size
        if side is not None:
            self._constraints["width"].check("img_size", side)
        body = Txt2ImgBody(prompt=query.prompt, width=side, height=side, model=AUTO)
        choice = self._check(body)
        width, height = self._drawn_size(body, choice.model, ("img_size", "img_size"))
        return self._request(body, choice, request_id, width, height)

    def img2img(self, body: Img2ImgBody, data: bytes, request_id: str) -> GenerationRequest:
        """Build the request for pictures from text and picture. Raises ``RequestError``.

        Blocking, as it decodes and resizes ``data``: run it in a thread.
        """
        choice = self._check(body)
        model = choice.model
        strength = model.defaults.strength if body.strength is None else body.strength
        self._check_strength(body, strength, model)
        picture = images.decode(data, self._settings.max_input_pixels, "img")
        width, height = self._size(body, picture.size, model)
        return replace(
            self._request(body, choice, request_id, width, height),
            init_image=images.to_bytes(picture, width, height),
            strength=strength,
        )

    def inpaint(
        self, body: InpaintBody, data: bytes, mask_data: bytes, request_id: str
    ) -> GenerationRequest:
        """Build the request for painting a part of a picture anew. Raises ``RequestError``.

        Blocking, like ``img2img``.
        """
        choice = self._check(body)
        model = choice.model
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
            self._request(body, choice, request_id, width, height),
            init_image=images.to_bytes(picture, width, height),
            mask=images.to_bytes(mask, width, height),
            strength=strength,
        )

    def _check(self, body: Txt2ImgBody) -> ModelChoice:
        for field, constraint in self._constraints.items():
            value = getattr(body, field, None)
            if value is not None:
                constraint.check(field, value)
        for index, lora in enumerate(body.loras or ()):
            if lora.scale is not None:
                self._constraints["scale"].check(f"loras.{index}.scale", lora.scale)
        choice = self._lineup.choose(body.model, body.prompt, body.task, body.loras or ())
        scheduler = body.scheduler or choice.model.defaults.scheduler
        steps = self._steps(body, choice.model)
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
        return choice

    def _check_strength(self, body: Img2ImgBody, strength: float, model: ServedModel) -> None:
        steps = self._steps(body, model)
        if int(steps * strength) < 1:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"num_inference_steps x strength must be at least 1, got {steps} x {strength}",
                field="strength",
            )

    def _drawn_size(
        self, body: Txt2ImgBody, model: ServedModel, fields: tuple[str, str]
    ) -> tuple[int, int]:
        """Width and height of a picture from text; ``fields`` is what the client calls them."""
        width = model.defaults.width if body.width is None else body.width
        height = model.defaults.height if body.height is None else body.height
        self._check_size(width, height, model, fields)
        return width, height

    def _check_size(
        self,
        width: int,
        height: int,
        model: ServedModel,
        fields: tuple[str, str] = ("width", "height"),
    ) -> None:
        for field, side in zip(fields, (width, height), strict=True):
            if side % model.multiple_of:
                raise RequestError(
                    ErrorCode.OUT_OF_RANGE,
                    f"{field} must be a multiple of {model.multiple_of}, got {side}",
                    field=field,
                )
        if width * height > self._settings.max_pixels:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"{' x '.join(fields)} must be at most {self._settings.max_pixels} pixels, "
                f"got {width} x {height}",
                field=fields[0],
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
        self, body: Txt2ImgBody, choice: ModelChoice, request_id: str, width: int, height: int
    ) -> GenerationRequest:
        model = choice.model
        defaults = model.defaults
        guidance_scale = body.guidance_scale
        seed = body.seed
        if seed is None or seed == RANDOM_SEED:
            seed = secrets.randbelow(_last_seed(body) + 1)
        prompts = self._expanded(body, seed) if body.expand_prompt else ()
        return GenerationRequest(
            request_id=request_id,
            model=model.name,
            prompt=prompts[0] if prompts else body.prompt,
            prompts=prompts,
            negative_prompt=body.negative_prompt or "",
            width=width,
            height=height,
            num_inference_steps=self._steps(body, model),
            guidance_scale=defaults.guidance_scale if guidance_scale is None else guidance_scale,
            scheduler=body.scheduler or defaults.scheduler,
            seed=seed,
            loras=choice.uses,
            alias=None if choice.lora is None else choice.lora.name,
            num_images=body.num_images or 1,
            output_format=OutputFormat(body.output_format or OutputFormat.PNG),
            deadline=self._settings.deadline,
            wants_previews=bool(body.previews),
        )

    def _expanded(self, body: Txt2ImgBody, seed: int) -> tuple[str, ...]:
        """The prompt of each picture. Raises ``RequestError``."""
        limit = self._settings.max_prompt_chars
        prompts = tuple(
            expand(body.prompt, seed + index, self._wildcards)
            for index in range(body.num_images or 1)
        )
        longest = max(map(len, prompts))
        if longest > limit:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"prompt must be at most {limit} characters long once it is expanded, "
                f"got {longest}",
                field="prompt",
            )
        return prompts


def _last_seed(body: Txt2ImgBody) -> int:
    """The greatest seed whose pictures all have a valid one."""
    return MAX_SEED + 1 - (body.num_images or 1)
