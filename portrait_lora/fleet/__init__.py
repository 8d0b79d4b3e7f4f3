"""Hundreds of people: a roster, the backends that do its work, and what came of everybody."""
