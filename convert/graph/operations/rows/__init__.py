"""The rows of the table, by family; ``ROWS`` of each file are collected in ``table.py``."""
