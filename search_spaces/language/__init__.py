"""The language of search spaces: factors and their conditions, designs, constraints."""
