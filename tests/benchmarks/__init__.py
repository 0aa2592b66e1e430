"""Measurements of what the design promises; each is run by itself, and its last line is JSON."""
