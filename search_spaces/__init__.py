"""What may vary: every YAML file in this folder is a named search space that studies refer to."""
