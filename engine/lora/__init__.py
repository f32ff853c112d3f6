"""LoRAs: adapters, the files that they come from, and the rows of a pass that have them."""
