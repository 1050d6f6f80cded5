"""Data sets: records, record files, and readers of public data sets.  Independent of torch."""
