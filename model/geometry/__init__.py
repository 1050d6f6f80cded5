"""Boxes, regions and masks: formats and checks.  No torch."""
