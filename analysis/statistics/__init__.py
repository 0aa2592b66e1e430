"""Estimates with their uncertainty, from the records of a study's replicates; no MLflow, no words of a report."""
