"""Tests of trainables.spiking."""
