"""From MLflow to what a person reads: records, tables, figures, pages."""
