"""Training: cached encodings, the loss, the adapter, checkpoints and one loop."""
