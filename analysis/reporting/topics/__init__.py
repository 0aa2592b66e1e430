"""One module for each topic of the report: its tables and sentences."""
