"""The fields of a request that have no effect here: each is reported, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from api.errors import out_of_range
from api.protocols.a1111.schemas import (
    DENOISING_STRENGTH,
    Generation,
    WebUIBody,
    WebUIImg2Img,
    WebUITxt2Img,
)

# Of more notes, the number alone; of longer ones, the beginning.
_LISTED: Final = 32
_NOTE_CHARS: Final = 200
# The options that a request may override.
HONOURED: Final = ("sd_model_checkpoint", "samples_format")

_Neutral = Callable[[Any], bool]


def _is(*values: Any) -> _Neutral:
    return lambda value: value in values


def _at_most(limit: float) -> _Neutral:
    return lambda value: isinstance(value, int | float) and value <= limit


# What makes no difference, and why anything else makes none either.
_COMMON: Final[Mapping[str, tuple[_Neutral, str]]] = {
    "styles": (_is([]), "there are no styles"),
    "restore_faces": (_is(False), "faces are not restored"),
    "tiling": (_is(False), "pictures do not tile"),
    "clip_skip": (_at_most(1), "the text encoder's last layers are those of the model"),
    "subseed_strength": (_is(0), "there are no variations of seeds"),
    "seed_resize_from_h": (_at_most(0), "noise has the size of the picture"),
    "seed_resize_from_w": (_at_most(0), "noise has the size of the picture"),
    "s_min_uncond": (_is(0), "guidance has the same rows at each step"),
    "s_churn": (_is(0), "samplers have the noise of their kind"),
    "s_tmin": (_is(0), "samplers have the noise of their kind"),
    "s_tmax": (_at_most(0), "samplers have the noise of their kind"),
    "s_noise": (_is(1), "samplers have the noise of their kind"),
    "override_settings_restore_afterwards": (_is(True), "settings of a request are not kept"),
    "save_images": (_is(False), "nothing is kept on the server"),
}
_TXT2IMG: Final[Mapping[str, tuple[_Neutral, str]]] = {
    "firstphase_width": (_at_most(0), "the first size is width x height"),
    "firstphase_height": (_at_most(0), "the first size is width x height"),
}
_IMG2IMG: Final[Mapping[str, tuple[_Neutral, str]]] = {
    "initial_noise_multiplier": (_is(1), "the noise is that of the schedule"),
    # 1.5 is what webuiapi always sends.
    "image_cfg_scale": (_is(1.5), "there is no model of instruct-pix2pix"),
    "include_init_images": (_is(False), "parameters have no pictures"),
}
_INPAINTING: Final[Mapping[str, tuple[_Neutral, str]]] = {
    "mask_blur": (_is(0), "the mask's edge is hard"),
    "mask_blur_x": (_is(0), "the mask's edge is hard"),
    "mask_blur_y": (_is(0), "the mask's edge is hard"),
    "mask_round": (_is(True), "the mask's edge is hard"),
    "inpaint_full_res": (_is(False), "the whole picture is denoised"),
}
_SETTINGS: Final[Mapping[str, _Neutral]] = {
    "CLIP_stop_at_last_layers": _at_most(1),
    "sd_vae": _is("Automatic", "None"),
}
# The noise that a sampler adds at each step, of those that could add another one.
_ETA: Final[Mapping[str, float]] = {"ddim": 0, "euler_a": 1}


def ignored(body: Generation, scheduler: str) -> list[str]:
    """What of a request had no effect: a sentence each, that begins with the field."""
    notes = [f"{name}: {reason}" for name, reason in _without_effect(body)]
    eta = _ETA.get(scheduler)
    if eta is not None and body.eta not in {None, eta}:
        notes.append(f"eta: {eta:g} is that of the sampler")
    notes += [f"alwayson_scripts.{name}: switched off" for name in body.alwayson_scripts or ()]
    for name, value in (body.override_settings or {}).items():
        neutral = _SETTINGS.get(name, _is(None))
        if name not in HONOURED and value is not None and not neutral(value):
            notes.append(f"override_settings.{name}: not a setting here")
    return bounded([*notes, *_unknown(body)])


def unread(body: WebUIBody) -> list[str]:
    """The same of a body whose known fields all have an effect."""
    return bounded(_unknown(body))


def bounded(notes: Sequence[str]) -> list[str]:
    """The beginnings of the first of them, and how many more there are."""
    listed = [note if len(note) <= _NOTE_CHARS else note[:_NOTE_CHARS] + "..." for note in notes]
    if len(listed) > _LISTED:
        listed[_LISTED:] = [f"and {len(listed) - _LISTED} more"]
    return listed


def check(body: Generation) -> None:
    """Raise ``RequestError`` for what would be another picture without it."""
    if body.script_name:
        raise out_of_range("script_name", "absent, as there are no scripts", body.script_name)
    for name, script in (body.alwayson_scripts or {}).items():
        if not _switched_off(script):
            field = f"alwayson_scripts.{name[:80]}"
            raise out_of_range(field, "absent or switched off, as there are no scripts", name)
    if body.infotext:
        raise out_of_range("infotext", "absent: send the fields themselves", body.infotext)


def _unknown(body: WebUIBody) -> list[str]:
    return [f"{name}: not a field here" for name in body.unknown]


def _without_effect(body: Generation) -> Iterator[tuple[str, str]]:
    table = dict(_COMMON)
    if isinstance(body, WebUITxt2Img):
        table |= _TXT2IMG
    if isinstance(body, WebUIImg2Img):
        table |= _IMG2IMG
        if body.mask:
            table |= _INPAINTING
            strength = body.denoising_strength
            if (DENOISING_STRENGTH if strength is None else strength) < 1:
                fill = "noise is added to what is under the mask, as with 1"
                table["inpainting_fill"] = (_is(1), fill)
    for name, (neutral, reason) in table.items():
        value = getattr(body, name)
        if value is not None and not neutral(value):
            yield name, reason


def _switched_off(script: Any) -> bool:
    """Whether a script has no arguments, or says itself that it is not to run."""
    arguments = script.get("args") if isinstance(script, dict) else script
    if not arguments or arguments == {}:
        return True
    if isinstance(arguments, dict):
        arguments = [arguments]
    if not isinstance(arguments, list):
        return False
    if arguments[0] is False:
        return True
    return all(
        isinstance(one, dict) and (one.get("enabled") is False or one.get("ad_model") == "None")
        for one in arguments
    )
