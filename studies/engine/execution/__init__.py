"""How replicates are run: Ray Tune, resources, retries, budgets, progress."""
