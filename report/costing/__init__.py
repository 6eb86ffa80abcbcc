"""What an answer costs, beside what the source network costs."""
