"""What training will cost: parameters, operations, memory, time."""
