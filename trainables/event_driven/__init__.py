"""The event-driven CPU backend: only spikes, and only gradients that are not zero, cost anything."""
