"""The differentiable neuron."""
