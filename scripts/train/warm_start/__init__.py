"""A warm start learned from people: `python -m scripts.train.warm_start`."""
