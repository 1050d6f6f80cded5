"""Scenes of the toy world: layout, drawings and pixels, each a function of a seed."""
