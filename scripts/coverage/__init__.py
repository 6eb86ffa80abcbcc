"""The models of the libraries that convert."""
