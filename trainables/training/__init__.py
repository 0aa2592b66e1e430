"""How a trainable is trained: data, the loop, reports, checkpoints, randomness."""
