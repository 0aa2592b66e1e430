"""Spiking neurons and the measures of their activity."""
