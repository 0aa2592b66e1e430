"""What is written to MLflow: the study's run, a run for each replicate, their models."""
