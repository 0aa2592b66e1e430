"""Tests of trainables.kernels."""
