"""BentoML Runnables: each owns a process, a device and an engine."""
