"""Boxes, regions and masks: their formats and the checks that they pass.  No torch."""
