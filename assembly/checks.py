"""The checks of the start: what the engine could not run is refused before anything is loaded."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from ipaddress import ip_address

from models.budget import check_budget, model_footprint
from models.catalog import ModelEntry
from models.errors import NotEnoughMemory
from models.footprint import together
from models.identity import identify
from models.placement import Placement
from models.quantization import missing_package
from models.remedies import remedies
from settings import Settings


class UnguardedAddress(ValueError):
    """An address that others can reach, where nobody is asked for a key."""


class UnusableCompiler(ValueError):
    """A compiler that is not installed, or that does not compile for where the models run."""


class UnusableQuantization(ValueError):
    """A quantisation whose package is not installed, or that does not go with other settings."""


class UnusableScreening(ValueError):
    """A check whose packages are not installed."""


def check_address(settings: Settings, host: str) -> None:
    """Refuse to serve others than the users of this machine without having been told to.

    Args:
        settings: say whether there are keys, or need be none.
        host: what is to be listened on: an address or a name of it.

    Raises:
        UnguardedAddress: says in a sentence what to do.
    """
    if settings.has_keys or settings.allow_anonymous or _is_loopback(host):
        return
    raise UnguardedAddress(
        f"{host} can be reached from other machines, and there are no API keys: make one (python "
        "-m api.keys create NAME --file FILE) and set SD_API_KEYS_FILE=FILE, or set "
        "SD_ALLOW_ANONYMOUS=true to serve whoever comes"
    )


def _is_loopback(host: str) -> bool:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host or "0.0.0.0", None)}  # noqa: S104
    except OSError:
        # The server says so in its own words.
        return False
    return all(ip_address(address).is_loopback for address in found)


def check_compiler(compiler: str, placement: Placement) -> None:
    """Refuse a compiler that is not installed, or does not compile for where the models run.

    Args:
        compiler: ``none``, ``inductor`` or ``openvino``.
        placement: where the models are to run, and in which precision.

    Raises:
        UnusableCompiler: says in a sentence what to do.
    """
    if compiler != "openvino":
        return
    if placement != Placement("cpu", "fp32"):
        raise UnusableCompiler(
            "SD_COMPILE=openvino computes on a CPU in fp32, and the models would run on "
            f"{placement.device} in {placement.precision}: set SD_DEVICE=cpu and "
            "SD_PRECISION=fp32, or another SD_COMPILE"
        )
    if find_spec("openvino") is None:
        raise UnusableCompiler(
            "SD_COMPILE=openvino needs a package that is not installed; "
            "run: pip install -r requirements-openvino.txt"
        )


def check_memory(
    entries: Sequence[ModelEntry],
    placement: Placement,
    budget: int | None,
    pinned: Collection[str],
) -> None:
    """Refuse a budget that some model could never fit into.

    Args:
        entries: the models to be served.
        placement: its precision decides what the weights take.
        budget: bytes for the weights of all models in memory; None for no bound.
        pinned: names of the models that never leave it.

    Raises:
        ModelError: says which model, what it takes and what the budget is.
    """
    if budget is None:
        return
    sizes = {each.name: model_footprint(each, placement) for each in entries}
    try:
        check_budget(sizes, pinned, budget)
    except NotEnoughMemory:
        # What several of them have counts once; to find it takes its time.
        identities = identify(entries, placement.precision)
        sizes = {each.name: model_footprint(each, placement, identities) for each in entries}
        try:
            check_budget(sizes, pinned, budget)
        except NotEnoughMemory as error:
            advice = next(
                remedies(entry, placement, budget - together(stay))
                for entry in entries
                for stay in [[sizes[name] for name in pinned if name != entry.name]]
                if together([*stay, sizes[entry.name]]) > budget
            )
            raise NotEnoughMemory(f"SD_MODEL_MEMORY is too small: {error}. {advice}") from None


def check_quantization(settings: Settings, entries: Sequence[ModelEntry]) -> None:
    """Refuse a quantisation that cannot be.

    Args:
        settings: they may exclude it.
        entries: the models to be served, quantised or not.

    Raises:
        UnusableQuantization: says in a sentence what to do.
    """
    if settings.quantize is not None and not any(entry.quantized for entry in entries):
        raise UnusableQuantization(
            f"SD_QUANTIZE names {' and '.join(settings.quantize)} alone, and none of the models "
            "has such a part"
        )
    for entry in entries:
        for part, scheme in entry.quantized_parts.items():
            if part == "denoiser" and settings.compile != "none":
                raise UnusableQuantization(
                    f"the denoiser of {entry.name} is to be quantised ({scheme}) and compiled: "
                    f"set SD_COMPILE=none, got {settings.compile}, or no SD_QUANTIZE"
                )
            if package := missing_package(scheme):
                raise UnusableQuantization(
                    f"{entry.name} is to be quantised ({part}={scheme}), which needs {package}, "
                    "a package that is not installed; run: "
                    "pip install --no-deps -r requirements-quantize.txt"
                )


def check_screening(settings: Settings, entries: Sequence[ModelEntry]) -> None:
    """Refuse a check that cannot be made.

    Args:
        settings: they decide, with the entries, what is screened.
        entries: the models to be served.

    Raises:
        UnusableScreening: says in a sentence what to do.
    """
    for entry in entries:
        action = settings.screening(entry)["nsfw"]
        if action == "off" or (find_spec("nudenet") and find_spec("onnxruntime")):
            continue
        raise UnusableScreening(
            f"pictures of {entry.name} are to be screened (nsfw: {action}), which needs packages "
            "that are not installed; run: pip install -r requirements-nsfw.txt"
        )
