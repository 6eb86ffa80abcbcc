"""The native CPU engine: packed spikes, event-driven synapses fused with the neurons."""
