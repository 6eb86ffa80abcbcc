"""Curves over timesteps."""
