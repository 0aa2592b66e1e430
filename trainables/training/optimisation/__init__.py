"""How weights are changed: the schedule of rates, the optimisers, the average of the weights."""
