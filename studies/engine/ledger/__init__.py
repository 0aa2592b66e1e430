"""The Optuna study that keeps the state of every replicate, and who may write to it."""
