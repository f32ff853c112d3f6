"""The plan of a model's memory: what its weights, a pass and a picture take, and what fits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from models.budget import model_bytes
from models.catalog import ModelEntry
from models.dry_run import decode_bytes, pass_bytes, weightless, weightless_bytes
from models.errors import LoadError, ModelError, ModelNotDownloaded
from models.store import readable, resolve
from models.weights import upcast_components

# Of the memory: for kernels' workspaces, fragmentation and the driver, which no figure here has.
RESERVE = 0.1
_CONFIGS: Final = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model takes. All sizes are in bytes.

    Attributes:
        model: its name in the catalog.
        precision: fp32, fp16 or bf16.
        quantized: by component, how; components that it has not may be named.
        width: of the pictures, like ``height``.
        weights: by component.
        passes: what a pass of the denoiser takes beside the weights, by its rows.
        decode: what decoding a picture takes beside them, at another time than a pass.
        memory: there is; None where that is not known.
        by_configs: whether its configs alone were read, and not its files.
    """

    model: str
    precision: str
    quantized: Mapping[str, str]
    width: int
    height: int
    weights: Mapping[str, int]
    passes: Mapping[int, int]
    decode: int
    memory: int | None
    by_configs: bool

    @property
    def together(self) -> int:
        """Bytes of all weights."""
        return sum(self.weights.values())

    @property
    def working(self) -> int:
        """Bytes that the smallest work takes beside the weights."""
        return max(self.passes[min(self.passes)], self.decode)

    @property
    def left(self) -> int | None:
        """Bytes that are free beside the weights and the smallest work; negative if it does not
        fit."""
        if self.memory is None:
            return None
        return int(self.memory * (1 - RESERVE)) - self.together - self.working

    @property
    def rows(self) -> int | None:
        """Rows of the largest pass that fits beside the weights; 0 if none does."""
        if self.left is None or self.memory is None:
            return None
        if self.left < 0:
            return 0
        most = max(self.passes)
        room = int(self.memory * (1 - RESERVE)) - self.together
        return int(room / (self.passes[most] / most))


def plan(
    entry: ModelEntry,
    precision: str,
    size: tuple[int, int] | None = None,
    rows: Sequence[int] = (1, 2, 4, 8),
    memory: int | None = None,
    configs: Path | None = None,
) -> Plan:
    """Plan a model's memory by its files' headers and its configs. Takes seconds, and no memory.

    Args:
        entry: the model, quantised or without T5 as it is to be.
        precision: fp32, fp16 or bf16.
        size: width and height of the pictures; default: its own.
        rows: of the passes to plan.
        memory: bytes that there are.
        configs: a folder with the configs of its components; default: that of its release in
            ``models/configs``, where its files are not on this machine.

    Raises:
        ModelError: neither its files nor its configs are here, or they are broken.
    """
    width, height = size or (entry.defaults.width, entry.defaults.height)
    multiple = entry.architecture.multiple_of
    if width % multiple or height % multiple:
        raise ModelError(
            f"--size must be multiples of {multiple} for {entry.name}, got {width}x{height}."
        )
    if configs is None:
        try:
            folder = entry.config_folder(resolve(entry, precision))
        except ModelNotDownloaded as error:
            configs = _published(entry, error)
    if configs is None:
        weights = model_bytes(entry, precision)
        components = weightless(folder, entry.skipped_components)
        upcast = upcast_components(folder)
    else:
        components = weightless(configs, entry.skipped_components)
        vae: Any = components.get("vae")
        upcasts = vae is not None and entry.architecture.upcasts_vae and vae.config.force_upcast
        upcast = frozenset({"vae"} if upcasts else ())
        weights = weightless_bytes(components, precision, upcast, entry.quantized)
    if "vae" not in components:
        raise LoadError(f"{entry.name} has no config of its VAE.")
    return Plan(
        model=entry.name,
        precision=precision,
        quantized={each: how for each, how in entry.quantized.items() if each in weights},
        width=width,
        height=height,
        weights=weights,
        passes={each: pass_bytes(components, precision, (width, height), each) for each in rows},
        decode=decode_bytes(components, "fp32" if "vae" in upcast else precision, (width, height)),
        memory=memory,
        by_configs=configs is not None,
    )


def _published(entry: ModelEntry, reason: ModelNotDownloaded) -> Path:
    """The folder of a release's configs; without one, ``reason`` says what else can be done."""
    folder = _CONFIGS / (entry.configs or entry.name)
    if not folder.is_dir():
        raise ModelNotDownloaded(f"{reason}, or give its configs by --configs FOLDER") from None
    return folder


def as_json(found: Plan) -> str:
    """One object; sizes in bytes."""
    derived = {"left": found.left, "rows": found.rows}
    return json.dumps({**asdict(found), "together": found.together, **derived}, indent=2)


def as_text(found: Plan) -> str:
    """For people."""
    source = ", by its configs" if found.by_configs else ""
    lines = [f"{found.model} in {found.precision} at {found.width} x {found.height}{source}", ""]
    for name, size in found.weights.items():
        how = found.quantized.get(name)
        lines.append(f"  {name:<16}{readable(size):>12}{f'  {how}' if how else ''}")
    lines.append(f"  {'weights':<16}{readable(found.together):>12}")
    lines.append("")
    for rows, size in found.passes.items():
        label = "a row" if rows == 1 else f"{rows} rows"
        lines.append(f"  {'pass, ' + label:<16}{readable(size):>12}")
    lines.append(f"  {'decode, 1':<16}{readable(found.decode):>12}")
    if found.memory is not None and found.left is not None:
        lines += ["", _verdict(found, found.memory, found.left)]
    return "\n".join(lines)


def _verdict(found: Plan, memory: int, left: int) -> str:
    reserve = f"{readable(memory)}, of which {RESERVE:.0%} are kept free"
    if left < 0:
        return f"Does not fit into {reserve}: {readable(-left)} are missing."
    return (
        f"Fits into {reserve}: passes of up to {found.rows} rows, or {readable(left)} for other "
        "models beside the smallest one."
    )
