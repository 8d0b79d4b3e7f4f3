"""Measuring what survived of a face: similarity, drift, copying, and the page that shows it."""
