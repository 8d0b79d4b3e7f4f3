"""Finishing: from a portrait to a delivered picture that still shows the same person."""
