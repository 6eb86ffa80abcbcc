"""Which models of the libraries convert."""
