"""What each operation is and does in time, and the graph that a spiking network keeps."""
