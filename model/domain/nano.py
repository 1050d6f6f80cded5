"""The description of the shipped models, which every interface shows."""

NANO = "nano: a demonstration model for rendered scenes"
