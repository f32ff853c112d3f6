"""CPU threads: how many, and how a pass is split over them."""
