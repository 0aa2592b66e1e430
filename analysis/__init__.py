"""Scripts that read a study from MLflow and report which factors matter, by how much, and how certain that is."""
