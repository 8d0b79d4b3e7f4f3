"""Checks of one base-model family: what diffusers computes, and what a small adapter learns."""
