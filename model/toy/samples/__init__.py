"""Scenes with questions, phrases or prompts as training samples, each determined by its index."""
