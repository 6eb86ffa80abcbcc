"""All that wants a GPU once, in eight minutes: ``python -m spikeport.scripts.gpu_check``."""
