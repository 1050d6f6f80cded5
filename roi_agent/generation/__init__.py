"""Region-level instructions from images without labels: find, describe, relate, write, verify, and keep what is supported."""
