"""How a trainable is trained: the loop, its configs and tasks, reports, checkpoints."""
