"""Tests of trainables.training."""
