"""A network over time, on each backend."""
