"""Response bodies of the web UI's API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_FREE = ConfigDict(protected_namespaces=())


class GenerationResponse(BaseModel):
    """The pictures of a request."""

    images: list[str] = Field(
        description="The files in base64, in the order of their seeds; of a request that was "
        "interrupted, those that were done"
    )
    parameters: dict[str, Any] = Field(description="The fields of the request")
    info: str = Field(
        description="A JSON object as text: `seed`, `all_seeds`, `infotexts` and what else the web "
        "UI has; `ignored`, what had no effect, and `warnings`, what was adjusted: sentences"
    )


class WebUIState(BaseModel):
    """How far a client's requests are."""

    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str = Field(description="`force_task_id` of the oldest request")
    job_count: int = Field(description="Pictures that were asked for; 0 where nothing is done")
    job_timestamp: str
    job_no: int = Field(description="Pictures that are done")
    sampling_step: int = Field(description="Of the oldest request, the picture heard of last")
    sampling_steps: int


class WebUIProgress(BaseModel):
    """How far this client's requests are, all together."""

    progress: float = Field(description="0 to 1; 0 where nothing is done")
    eta_relative: float = Field(description="Seconds that are left, at the rate of those passed")
    state: WebUIState
    current_image: str | None = Field(
        description="An unfinished picture, a small PNG in base64; of requests that began after "
        "the client had asked for one"
    )
    textinfo: str | None


class PNGInfo(BaseModel):
    """The texts in a picture's file."""

    info: str = Field(description="The parameters; empty where there are none")
    items: dict[str, str] = Field(description="Its other texts by their keywords")
    parameters: dict[str, str] = Field(description="The parameters by their names in the web UI")
    request: dict[str, Any] = Field(
        # Generated clients have it in the name of a class, and PNGInfoRequest is the body.
        title="NativeRequest",
        description="The fields of `POST /txt2img` that make the picture again, and `strength` of "
        "one that was made from another picture; beyond what the web UI has",
    )
    ignored: list[str] = Field(
        description="What is not in `request`, a sentence each; beyond what the web UI has"
    )


class Caption(BaseModel):
    """What a picture shows."""

    caption: str = Field(description="The classifier's likeliest label")
    ignored: list[str] = Field(
        description="The fields that had no effect, a sentence each; beyond what the web UI has"
    )


class CurrentOptions(BaseModel):
    """The options of this client."""

    model_config = _FREE

    sd_model_checkpoint: str = Field(description="The model of its requests")
    sd_checkpoint_hash: str = Field(description="Always empty")
    samples_format: str
    CLIP_stop_at_last_layers: int = Field(description="Cannot be changed")
    sd_vae: str = Field(description="Cannot be changed")
    send_seed: bool
    send_size: bool


class ChangedOptions(BaseModel):
    """What became of options."""

    ignored: list[str] = Field(description="Those that cannot be changed, a sentence each")


class WebUISampler(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class WebUISchedule(BaseModel):
    """A schedule of the noise; not each goes with each sampler."""

    name: str
    label: str
    aliases: list[str]
    default_rho: float
    need_inner_model: bool


class WebUIModel(BaseModel):
    """A model."""

    model_config = _FREE

    title: str = Field(description="What `sd_model_checkpoint` is to be")
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class WebUILora(BaseModel):
    """A LoRA."""

    name: str = Field(description="As it is called in a prompt: `<lora:name:1>`")
    alias: str
    path: str
    metadata: dict[str, str]


class WebUIUpscaler(BaseModel):
    """A way to enlarge pictures."""

    model_config = _FREE

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float


class Embeddings(BaseModel):
    """Textual inversions, of which there are none."""

    loaded: dict[str, Any]
    skipped: dict[str, Any]


class Scripts(BaseModel):
    """Scripts, of which there are none."""

    txt2img: list[str]
    img2img: list[str]


class Memory(BaseModel):
    """The memory of the machine, in bytes."""

    ram: dict[str, int]
    cuda: dict[str, str]


class Flags(BaseModel):
    """What the service was started with, in the web UI's words."""

    api: bool
    nowebui: bool


class NamedThing(BaseModel):
    """Something of a kind of which there is nothing."""

    name: str
