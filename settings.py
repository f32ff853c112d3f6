"""The service's settings: environment variables with the prefix ``SD_``, read once.

BentoML's own knobs (ports, workers, timeouts) stay in ``configuration.yaml``.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contract.screening import Action, CheckName, NudityLabel
from models.architectures import TextEncoder
from models.catalog import ModelEntry, ModelName
from models.quantization import Quantization

MOST_PIXELS = 2_400_000  # of a picture, on the fastest device, unless SD_MAX_PIXELS says otherwise

# Without a port: that of the service is known.
HostPattern = Annotated[
    str, StringConstraints(to_lower=True, pattern=r"(?i)^(\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*)$")
]
# As browsers write it in the Origin header: without a path, and without the scheme's own port.
Origin = Annotated[
    str,
    StringConstraints(
        to_lower=True,
        pattern=r"(?i)^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$",
    ),
]


T = TypeVar("T")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


# Comma-separated in the environment.
Listed = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """What is served, on what, and within which limits. Immutable after the start."""

    model_config = SettingsConfigDict(
        env_prefix="SD_",
        frozen=True,
        extra="forbid",
        # What a Bento was built to serve (docs/bento.md); a checkout has no such file, and the
        # environment goes first.
        env_file=Path(__file__).with_name("bento.env"),
    )

    models: Listed[str] = Field(
        ("embedded",),
        min_length=1,
        description="Catalog names of the served models, comma-separated; the first is the default",
    )
    catalog: Path | None = Field(
        None, description="YAML file with catalog entries of your own, added to the built-in ones"
    )
    model_source: str | None = Field(
        None,
        pattern=r"^(s3://[^/]+.*|/.*)$",
        description="Where a copy of a BentoML model store is: s3://bucket/prefix, from which the "
        "served models are fetched at the start (requirements-s3.txt), or a folder, read in place. "
        "A folder may have the models themselves instead, as KServe mounts them: diffusers "
        "pipelines, checkpoints, LoRAs; all of them are served then, whatever SD_MODELS says. "
        "Default: the Bento's own models, or the store of BENTOML_HOME",
    )
    model_name: ModelName | None = Field(
        None,
        description="Name of the default model in such a folder; default: that of its export, its "
        "folder or its file",
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="auto is fp16 on CUDA and fp32 on a CPU"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto is CUDA where there is a GPU; BentoML gives each worker its own"
    )
    build_only: bool = Field(
        False,
        description="Describe the service without asking whether this machine could run it: set "
        "while a Bento is built for another one",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads of the denoiser; default: one or all, as is faster just then",
    )

    compile: Literal["none", "inductor", "openvino"] = Field(
        "none",
        description="Compile the denoiser: openvino for a CPU in fp32 (requirements-openvino.txt), "
        "inductor for a GPU; the start takes longer",
    )

    text_encoders: Listed[TextEncoder] | None = Field(
        None,
        description="Text encoders of Stable Diffusion 3 that are loaded, comma-separated: "
        "clip_l,clip_g leaves out T5, which is most of such a model; its pictures then follow long "
        "prompts and write words less well. Default: as the catalog says, else all",
    )

    quantize: Annotated[Quantization | None, NoDecode] = Field(
        None,
        description="Keep weights in 8 or 4 bits: int8 or fp8 (torchao), nf4 (bitsandbytes), for "
        "all, or for each such as t5=int8,denoiser=fp8 (requirements-quantize.txt). Default: as "
        "the catalog says, else none",
    )
    text_encoder_device: Literal["auto", "cpu"] = Field(
        "auto",
        description="cpu keeps the text encoders in the memory of the CPU, in fp32, where the "
        "models are on a GPU; auto: where the models are",
    )

    pinned_models: Listed[str] = Field(
        (), description="Those of SD_MODELS that never leave the memory, comma-separated"
    )
    model_memory: ByteSize | None = Field(
        None,
        description="What the weights of all models in memory may take together, such as 12GB; "
        "the least recently used model is evicted. Default: no bound, all are loaded at the start",
    )

    model_control: bool = Field(
        False,
        description="Let clients load and unload models (POST "
        "/v2/repository/models/{model}/load and /unload): any client, as there are no keys",
    )

    lora_memory: ByteSize = Field(
        ByteSize(1024**3),
        description="What the weights of all LoRAs in memory may take together, such as 500MB; the "
        "least recently used LoRA is evicted",
    )
    max_loras: int = Field(4, ge=1, le=64, description="LoRAs per request")

    max_batch_pixels: int | None = Field(
        None,
        ge=64 * 64,
        description="Rows x pixels that one denoiser pass may hold; default: what fits into the "
        "GPU's memory, on a CPU 2 Mi (eight rows of 512 x 512)",
    )
    max_batch_rows: int = Field(32, ge=2, le=1024, description="Rows that one pass may hold")
    vae_pixels: int = Field(
        1024 * 1024,
        ge=256 * 256,
        description="Pixels that the picture encoder and decoder take at once: larger batches go "
        "picture by picture, larger pictures in tiles",
    )
    pad_rows: bool | None = Field(
        None,
        description="Pad passes to a few numbers of rows, so that kernels and compiled graphs see "
        "few shapes; default: on a GPU",
    )
    invariant: bool = Field(
        False,
        description="Make passes in blocks of one number of rows: a picture is then bit-identical, "
        "whatever it is batched with",
    )
    mixed_sizes: bool = Field(
        False,
        description="Let pictures of different sizes share a pass of Stable Diffusion 3, whose "
        "denoiser is a transformer; other models go on with one size a pass. Not with SD_INVARIANT "
        "or SD_COMPILE",
    )
    max_pass_seconds: float = Field(
        0.5,
        ge=0.05,
        le=60,
        description="What one denoiser pass may take: it cannot be interrupted, so others wait "
        "that long. A single picture of a model's own size may take longer",
    )
    stuck_seconds: float = Field(
        600.0,
        gt=0,
        description="After so long in one denoiser pass the device counts as lost, and the process "
        "ends",
    )
    max_queue: int = Field(64, ge=1, le=100_000, description="Jobs accepted and not yet finished")
    max_queue_per_client: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="The same for one client, which is an address (IPv6: a /64 network); default: "
        "three quarters of SD_MAX_QUEUE, and at least SD_MAX_IMAGES",
    )
    trusted_proxies: Listed[str] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses and networks, comma-separated, of the proxies whose X-Forwarded-For "
        "says who the client is",
    )
    classifier: str = Field(
        "embedded",
        min_length=1,
        description="Image classifier of POST /classify: embedded, none, or the folder of a ViT",
    )
    max_classifications: int = Field(
        128, ge=1, le=100_000, description="Classifications accepted and not yet finished"
    )
    deadline: float = Field(300.0, gt=0, le=3600, description="Seconds a request may take")
    drain: float = Field(
        120.0, ge=0, le=3600, description="Seconds that in-flight work gets after SIGTERM"
    )

    max_connections: int = Field(
        1000,
        ge=16,
        le=100_000,
        description="Connections open at once; a new one displaces the one that is idle longest",
    )
    head_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds in which the head of a request has to arrive: from the connection, "
        "and on a connection that is kept, from its first byte",
    )
    keep_alive_seconds: float = Field(
        # Longer than clients keep a connection in their pools, or requests meet its end: aiohttp
        # 15 s, Java 30 s since 20, AWS's load balancer and .NET 60 s, Go 90 s. (Older Javas keep
        # it for 20 minutes, and requests for good; both look whether it was closed.)
        120.0,
        gt=0,
        le=86_400,
        description="Seconds that a connection is kept between two requests",
    )

    screen_grayscale: Action = Field("off", description="Pictures without colour")
    screen_blank: Action = Field("off", description="Pictures of one colour")
    screen_nsfw: Action = Field("off", description="Nudity; needs requirements-nsfw.txt")
    nsfw_threshold: float = Field(0.5, ge=0, le=1, description="Score from which a label counts")
    nsfw_labels: Listed[NudityLabel] = Field(
        (
            "FEMALE_BREAST_EXPOSED",
            "FEMALE_GENITALIA_EXPOSED",
            "MALE_GENITALIA_EXPOSED",
            "ANUS_EXPOSED",
            "BUTTOCKS_EXPOSED",
        ),
        min_length=1,
        description="What of NudeNet's labels counts, comma-separated",
    )

    wildcards: Path | None = Field(
        None,
        description="Folder of .txt and .yaml files with the wildcards of prompt templates, read "
        "at the start",
    )
    allowed_hosts: Listed[HostPattern] = Field(
        (),
        description="Names in the Host header, comma-separated, beside localhost, IP addresses and "
        "the machine's own name: example.com, *.example.com for all below it, * for any. Default: "
        "none over a loopback address, any over others",
    )
    allowed_origins: Listed[Origin] = Field(
        (),
        description="Other sites whose pages may use the service, comma-separated, such as "
        "https://example.com",
    )
    max_prompt_chars: int = Field(2_000, ge=1, le=100_000)
    min_side: int = Field(64, ge=8, description="Pixels")
    max_side: int = Field(2_048, ge=64, description="Pixels")
    max_pixels: int | None = Field(
        None,
        ge=64 * 64,
        description="width x height of a picture; default: for each model what it does in "
        "SD_MAX_PASS_SECONDS, at least about its own size, and at most 2,400,000",
    )
    max_steps: int = Field(150, ge=1, le=1000)
    max_images: int = Field(8, ge=1, le=64, description="Pictures per request")
    max_body_bytes: int = Field(12 * 1024 * 1024, ge=1024, description="Request body")
    max_json_bytes: int = Field(
        64 * 1024,
        ge=1024,
        le=1024 * 1024,
        description="JSON body, and the part with the fields of a form: it is parsed in one go, "
        "while nothing else is served",
    )
    max_bodies_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1024,
        description="Request bodies in memory, all together; those of one address at most half",
    )
    body_idle_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds without a byte after which a body is given up"
    )
    max_input_pixels: int = Field(16_000_000, ge=64 * 64, description="Pixels of an input image")
    decode_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds that decoding the pictures of a request may take"
    )

    log_format: Literal["plain", "json"] = "plain"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_prompts: bool = Field(
        False,
        description="Log the prompts of each request, and the queries of URLs; otherwise neither "
        "is in any line",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)
        return proxies

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.pinned_models:
            if name not in self.models:
                raise ValueError(f"pinned_models names {name!r}, which is not one of models")
        if self.mixed_sizes and (self.invariant or self.compile != "none"):
            other = "invariant" if self.invariant else f"compile={self.compile}"
            raise ValueError(
                f"mixed_sizes cannot be combined with {other}, which needs passes of few shapes"
            )
        if self.max_images > self.max_queue:
            raise ValueError(
                f"max_images ({self.max_images}) must not exceed max_queue ({self.max_queue})"
            )
        if self.max_bodies_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_bodies_bytes ({self.max_bodies_bytes}) must not be below max_body_bytes "
                f"({self.max_body_bytes})"
            )
        own = self.max_queue_per_client
        if own is not None and not self.max_images <= own <= self.max_queue:
            raise ValueError(
                f"max_queue_per_client ({own}) must be at least max_images ({self.max_images}) and "
                f"at most max_queue ({self.max_queue})"
            )
        return self

    @property
    def places_per_client(self) -> int:
        """Jobs of one client that are accepted and not yet finished."""
        if self.max_queue_per_client is not None:
            return self.max_queue_per_client
        return max(self.max_images, self.max_queue * 3 // 4)

    @property
    def most_pixels(self) -> int:
        """Of a picture with any model; a model may do less (``max_pass_seconds``)."""
        return MOST_PIXELS if self.max_pixels is None else self.max_pixels

    def screening(self, entry: ModelEntry) -> dict[CheckName, Action]:
        """What is done with a model's pictures: as its entry says, and else as set here."""
        actions: dict[CheckName, Action] = {
            "grayscale": self.screen_grayscale,
            "blank": self.screen_blank,
            "nsfw": self.screen_nsfw,
        }
        return actions | entry.screening

    @property
    def offers_loras(self) -> bool:
        """A compiled denoiser takes none: what they add is computed beside its layers."""
        return self.compile == "none"
