"""Tests of trainables.training.optimisation."""
