"""The formats of the report: terminal, Markdown, HTML, LaTeX, CSV, Parquet."""
