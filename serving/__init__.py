"""The HTTP servers: BentoML's, with what it needs to speak our protocols, and uvicorn alone."""
