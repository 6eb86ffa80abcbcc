"""Simulation on the CPU engine."""
