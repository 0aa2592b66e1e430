"""Outcomes, cells and seeds of a study, in the forms that the estimators need."""
