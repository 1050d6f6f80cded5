"""Benchmarks on records: samples, predictions, metrics and confidence intervals."""
