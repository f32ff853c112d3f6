"""What is served, on which device, and how it is kept in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, Field
from pydantic_settings import NoDecode

from contract.screening import Action, CheckName, NudityLabel
from models.architectures import TextEncoder
from models.catalog import ModelEntry, ModelName
from models.quantization import Quantization
from settings.listed import Listed, Mapped


class ModelSettings(BaseModel):
    """Of the models, of what goes with them, and of the device that they are on."""

    models: Listed[str] = Field(
        ("embedded",),
        min_length=1,
        description="Catalog names of the served models, comma-separated; the first is the default",
    )
    model_aliases: Mapped[str] = Field(
        {},
        description="Further names of models, for clients that insist on theirs, comma-separated: "
        "gpt-image-1=sdxl-base",
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
    classifier: str = Field(
        "embedded",
        min_length=1,
        description="Image classifier of POST /classify: embedded, none, or the folder of a ViT",
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
        "inductor for a GPU; the start takes longer, and there are no LoRAs",
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
