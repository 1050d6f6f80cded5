"""What the shipped models are, in the sentence that every surface says before anybody asks them."""

NANO = "nano: a demonstration model for rendered scenes"
