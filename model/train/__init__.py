"""The trainer, and training on records."""
