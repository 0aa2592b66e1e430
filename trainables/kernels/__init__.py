"""Faster ways to run a network than plain PyTorch, and the choice between them."""
