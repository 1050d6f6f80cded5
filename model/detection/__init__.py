"""Detectors of things named by words, from transformers or as live objects of the original package."""
