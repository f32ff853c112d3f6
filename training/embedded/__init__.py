"""The recipe of the embedded model: a small latent diffusion model of emoji on coloured grounds."""
