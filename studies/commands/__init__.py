"""One module for each subcommand of ``spikesweep``."""
