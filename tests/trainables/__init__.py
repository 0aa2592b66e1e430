"""Tests of trainables."""
