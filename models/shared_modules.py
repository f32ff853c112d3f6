"""Components in memory that several models have."""

from __future__ import annotations

from weakref import WeakValueDictionary

import torch

from models.identity import NO_IDENTITIES, Identities


class SharedModules:
    """Finds a component that another model has brought along, as long as one in memory has it.

    Args:
        identities: of the components that may be shared, in models that are loaded alike.
    """

    def __init__(self, identities: Identities = NO_IDENTITIES) -> None:
        self._identities = identities
        self._modules: WeakValueDictionary[str, torch.nn.Module] = WeakValueDictionary()

    def find(self, model: str, component: str) -> torch.nn.Module | None:
        """The component of a model, if it is in memory."""
        identity = self._identities.get((model, component))
        return None if identity is None else self._modules.get(identity)

    def keep(self, model: str, component: str, module: torch.nn.Module) -> None:
        """Remember a component of a model as long as something else refers to it."""
        identity = self._identities.get((model, component))
        if identity is not None:
            self._modules[identity] = module
