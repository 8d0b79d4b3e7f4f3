"""Stages of `scripts/train_base.py`: the embedded base in Stable-Diffusion format, from nothing."""
