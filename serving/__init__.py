"""What BentoML's HTTP server needs to speak the protocols of ``api``."""
