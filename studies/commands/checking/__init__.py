"""What `spikesweep check` finds out of a valid study, and its page."""
