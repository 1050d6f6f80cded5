"""Benchmarks on records: questions, measures and intervals."""
