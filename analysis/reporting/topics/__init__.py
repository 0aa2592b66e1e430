"""One module for each topic of a report: its tables and verdicts."""
