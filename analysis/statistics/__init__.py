"""Estimates with their uncertainty; plain numbers in, plain numbers out."""
