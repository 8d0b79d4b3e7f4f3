"""Training: cached encodings, the objective, the adapter, checkpoints and one loop."""
