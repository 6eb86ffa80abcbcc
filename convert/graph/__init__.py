"""The operations, their places in time, and the graph that a spiking network keeps."""
