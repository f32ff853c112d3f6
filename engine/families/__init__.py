"""One module per architecture, each adapting a diffusers pipeline to the engine."""

SERVED_FAMILIES = frozenset({"sd1", "sd2"})
