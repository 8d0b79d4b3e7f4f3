"""The commands beside the journey: each a file of its own name."""
