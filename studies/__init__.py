"""What is run: every YAML file in this folder is a study that spikesweep ships."""
