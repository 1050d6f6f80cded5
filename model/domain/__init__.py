"""Whether an image is of the kind that a model was trained on, and what the shipped models say of themselves."""
