"""The build of Bentos: the code, the chosen models, and what they need to run elsewhere."""
