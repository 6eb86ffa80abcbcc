"""The cost of an answer, beside the source network's."""
