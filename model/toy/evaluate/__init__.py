"""How well models do on held-out scenes."""
