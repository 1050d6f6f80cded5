"""Scenes: their things, drawings and pixels, each determined by a seed."""
