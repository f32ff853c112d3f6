"""DreamBooth: one subject taught to a base model from a few pictures (Ruiz et al. 2022,
https://arxiv.org/abs/2208.12242), as a LoRA or as a whole fine-tuned pipeline."""
