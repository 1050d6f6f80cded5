"""Evaluation of the three models on held-out scenes."""
