"""Integer networks: weights, thresholds, potentials and currents as whole numbers."""
