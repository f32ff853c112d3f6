"""The recipe of the image classifier: a ViT, trained or fine-tuned by transformers' Trainer."""
