"""Methods side by side on one network."""
