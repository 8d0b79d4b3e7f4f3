"""The parts of `python -m scripts.evaluate.protocol`."""
