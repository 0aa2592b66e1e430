"""What was learnt: scripts that read a study from MLflow and say what matters, by how much, and how sure we are."""
