"""Trains the network of the step `relight` on sittings of the studio."""
