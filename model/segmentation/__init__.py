"""Segmenters, from transformers or as live objects of the original package."""
