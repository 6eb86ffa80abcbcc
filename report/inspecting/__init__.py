"""Where the output error comes from."""
