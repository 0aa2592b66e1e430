"""How long a training is, how a network is judged after an epoch, and which epoch is the result."""
