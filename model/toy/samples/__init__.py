"""Training samples: scenes with questions, phrases or prompts, each a function of its index."""
