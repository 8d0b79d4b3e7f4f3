"""The machine examined: packages, devices, models, and a journey of one step."""
