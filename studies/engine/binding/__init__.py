"""From the names in a study file to the code: trainables, configurations, replicates, samplers."""
