"""BentoML's runner processes: the Runnables, and their handles as the API's backends."""
