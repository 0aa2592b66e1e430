"""The language of search spaces: factors as Optuna distributions, designs as cells."""
