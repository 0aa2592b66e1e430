"""Tests of trainables.networks."""
