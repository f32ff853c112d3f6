"""The preferences of each client: what it has set for its own requests."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from api.errors import out_of_range
from contract.request import OutputFormat

# Of more clients, those that have been silent for longest have the defaults again.
MOST_CLIENTS: Final = 1024
_FORMATS: Final = {
    "png": OutputFormat.PNG,
    "jpg": OutputFormat.JPEG,
    "jpeg": OutputFormat.JPEG,
    "webp": OutputFormat.WEBP,
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client has set.

    Attributes:
        model: the model of its requests; None for the default.
        output_format: of its pictures, by its name there.
        send_seed: of no meaning here; likewise ``send_size``.
        previews: whether it has asked for unfinished pictures.
    """

    model: str | None = None
    output_format: str = "png"
    send_seed: bool = True
    send_size: bool = True
    previews: bool = False


DEFAULTS: Final = Preferences()


class PreferencesOfClients:
    """The preferences of the latest clients, in memory.

    Args:
        most: clients that are remembered.
    """

    def __init__(self, most: int = MOST_CLIENTS) -> None:
        self._most = most
        self._known: OrderedDict[str, Preferences] = OrderedDict()

    def of(self, client: str) -> Preferences:
        """What a client has set."""
        if client in self._known:
            self._known.move_to_end(client)
        return self._known.get(client, DEFAULTS)

    def set(self, client: str, preferences: Preferences) -> None:
        """Remember what a client has set."""
        self._known[client] = preferences
        self._known.move_to_end(client)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def output_format(name: object, field: str) -> OutputFormat:
    """A file format by its name there. Raises ``RequestError``: OUT_OF_RANGE."""
    found = _FORMATS.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise out_of_range(field, f"one of {', '.join(_FORMATS)}", name)
    return found
