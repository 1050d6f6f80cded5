"""Questions and phrases about scenes, with exact answers from their ground truth."""
