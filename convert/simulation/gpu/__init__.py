"""Simulation on a GPU, with CuPy kernels."""
