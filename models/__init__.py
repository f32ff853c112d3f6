"""Models: what is known of them, their files, and the model that ships with the code."""
