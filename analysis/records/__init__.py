"""From an MLflow store to the records of a study and its replicates."""
