"""Checks of this machine: packages, devices, models, and a self-test."""
