"""What a design answers: effects of levels, interactions, ranks, verdicts, power."""
