"""Reports: documents of verdicts, figures and tables, and the formats that render them."""
