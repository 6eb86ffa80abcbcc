"""A PyTorch model as a canonical graph."""
