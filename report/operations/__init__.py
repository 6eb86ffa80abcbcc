"""Counting of spikes, accumulates and multiply-accumulates."""
