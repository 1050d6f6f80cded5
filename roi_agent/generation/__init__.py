"""Region-level instructions from unlabelled images: find, describe, relate, write, verify, and keep what is supported."""
