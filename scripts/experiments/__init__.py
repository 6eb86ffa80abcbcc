"""Experiments behind figures of the documentation; run from a checkout, not installed."""
