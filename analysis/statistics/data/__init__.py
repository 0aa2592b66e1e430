"""Outcomes, cells and seeds in the forms that the statistics take."""
