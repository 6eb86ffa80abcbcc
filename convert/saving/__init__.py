"""The file format of a spiking network."""
