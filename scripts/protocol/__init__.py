"""The parts of `scripts/evaluate_protocol.py`."""
