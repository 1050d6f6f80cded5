"""Open-vocabulary detectors, from transformers or as live objects of the original package."""
