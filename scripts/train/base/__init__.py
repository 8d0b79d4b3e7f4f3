"""Stages of `python -m scripts.train.base`: the embedded base in Stable-Diffusion format, from nothing."""
