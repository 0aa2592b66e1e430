"""Images and labels, their normalisation and encoding as spikes, random numbers."""
