"""What a search answers: rankings, importance, partial dependence, Pareto fronts."""
