"""Training of the embedded watermark: its pictures, what they go through, the network that reads it."""
