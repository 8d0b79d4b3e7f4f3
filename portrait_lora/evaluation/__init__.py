"""Evaluation of likeness: similarity, identity drift, copying, and the report."""
