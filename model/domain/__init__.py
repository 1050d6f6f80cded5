"""Out-of-domain detection: whether an image is of the kind that a model was trained on."""
