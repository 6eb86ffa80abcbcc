"""The sources of the output error."""
