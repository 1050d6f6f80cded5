"""Training on records."""
