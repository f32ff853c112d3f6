"""The stages of a job: encode, denoise, decode, deliver."""
