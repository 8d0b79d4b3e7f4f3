"""Verification of a base with its real weights: what diffusers computes, what a small adapter learns."""
