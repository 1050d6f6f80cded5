"""Data: the toy world (rendered scenes with exact truth) and readers of public data sets."""
