"""A study's runs in one file: written from one MLflow store, read into another."""
