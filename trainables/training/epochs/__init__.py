"""Between epochs: the seconds that are left, how a network is judged, and which epoch is the result."""
