"""The inner loops of the event-driven kernels and of augmentation, compiled by Numba."""
