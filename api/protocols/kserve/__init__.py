"""KServe's inference protocols, v1 and v2 (the Open Inference Protocol)."""
