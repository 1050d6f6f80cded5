"""Helpers for every package: atomic files, child processes, progress, cancellation, messages, HTML for notebooks."""
