"""A recorded replicate trained again, and compared with its record."""
