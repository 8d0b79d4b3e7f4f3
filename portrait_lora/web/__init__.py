"""The studio in a browser and its API; nothing is loaded from elsewhere."""
