"""The errors between a model's name and a loaded pipeline.

Every message is one plain sentence or two that a person can act on; callers show it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable


class ModelError(Exception):
    """Base of every error that this package raises on purpose."""


class CatalogError(ModelError):
    """A catalog file cannot be read, or an entry in it is not valid."""


class UnknownModel(ModelError):
    """The catalog has no entry of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        known_names = ", ".join(self.known) or "none"
        super().__init__(f"There is no model '{name}'; known models: {known_names}.")


class VariantUnavailable(ModelError):
    """The model does not exist in the precision asked for."""


class ModelNotDownloaded(ModelError):
    """The model's files are not on this machine."""


class DownloadError(ModelError):
    """A model could not be brought here; what was fetched so far is kept for the next try."""


class GatedModel(DownloadError):
    """The hub asks for an accepted licence and a token."""


class NotEnoughDisk(DownloadError):
    """The disk cannot hold the model."""


class UnsafeWeights(ModelError):
    """A file that could run code when it is loaded, or that is not what its name says."""


class LoadError(ModelError):
    """The files are there, but no pipeline can be made of them."""


class NotEnoughMemory(ModelError):
    """A model could never fit into the memory that the models may take."""
