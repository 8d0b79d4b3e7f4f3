"""Trains the small network that tells dark lenses from eyes, on studio renders alone."""
