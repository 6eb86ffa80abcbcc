"""Timing of networks beside other tools."""
