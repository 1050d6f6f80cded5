"""Data sets: records, their files, and readers of public data sets.  No torch."""
