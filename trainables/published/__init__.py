"""Published networks and recipes as presets: what a paper or a repository did, and where that was read."""
