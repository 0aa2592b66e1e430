"""The inner loops of the event-driven kernels, compiled by Numba."""
