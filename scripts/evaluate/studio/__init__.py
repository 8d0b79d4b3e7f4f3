"""The synthetic studio, measured and shown: attribute classifiers, prompt obedience, contact sheets."""
