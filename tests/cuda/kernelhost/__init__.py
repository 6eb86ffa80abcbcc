"""Runs the kernels' own source text on the CPU; a stand-in for CuPy on top of it."""
