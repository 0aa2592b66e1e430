"""Measurements: speed, memory and what methods cost; each says in its header what is compared."""
