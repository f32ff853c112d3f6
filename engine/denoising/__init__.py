"""The denoising of one job: its state, conditioning, noise schedule and sampler."""
