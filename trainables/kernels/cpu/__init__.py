"""Event-driven kernels for CPUs."""
