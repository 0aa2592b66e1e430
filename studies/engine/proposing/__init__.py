"""What to train next: the cells of a design, tuning, adaptive search."""
