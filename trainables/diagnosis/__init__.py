"""Whether a network can learn from its first weights: what one batch does in it, before any training."""
