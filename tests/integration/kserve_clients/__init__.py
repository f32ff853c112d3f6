"""Programs that speak to a server through others' clients; they run in an environment of their
own, which knows nothing of this repository."""
