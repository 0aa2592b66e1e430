"""Networks built from a layout, and the grammar of layouts."""
