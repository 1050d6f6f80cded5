"""The training of the nano models."""
