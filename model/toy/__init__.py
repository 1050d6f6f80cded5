"""The toy world: rendered scenes with exact truth, on which the shipped nano models are trained and evaluated."""
